"""The journal on a real file."""

from __future__ import annotations

import contextlib
import inspect
import os
import sqlite3
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.put import advance

from povwatch.core.errors import ConfigError, JournalError, PovwatchError
from povwatch.core.hook_record import HookRecord, HookState
from povwatch.core.job import ENDS, TRANSITIONS, JobState, Waiting, may_go
from povwatch.journal import Journal, StaleJobError, WrongThreadError, open_reader
from povwatch.journal.lock import holder
from povwatch.journal.reader import FILE, JournalReader


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path) as opened:
        yield opened


def test_seen_clip_is_an_arriving_job(journal) -> None:
    """A clip that is seen is an arriving job with its event."""
    (job,) = journal.add([(b"a.mp4", b"sig")], 10.0)
    assert journal.job(job.id) == journal.latest(b"a.mp4")
    assert (job.state, job.base, job.source_stat, job.created_at) == (JobState.ARRIVING, b"a", b"sig", 10.0)
    assert [(e.event, e.was, e.state) for e in journal.events(job.id)] == [("seen", None, "arriving")]


def test_job_is_read_as_it_was_written(journal) -> None:
    (job,) = journal.add([(b"\xff.mp4", b"")], 1.0)
    new = advance(
        journal,
        job,
        "grace",
        2.0,
        state=JobState.GRACE,
        waiting_on=Waiting.HELD,
        hold=True,
        go=True,
        force=True,
        detail="d",
        spec_hash="s",
        spec_digest="g",
        spec_stat=b"1",
        source_hash="h",
        source_stat=b"2",
        source_info="{}",
        grace_left=1.5,
        grace_saved_at=2.5,
        invalid_since=3.5,
        priority=4,
    )
    assert journal.job(job.id) == new


def test_stale_transition_changes_nothing(journal) -> None:
    """A change of a job that has moved on changes nothing."""
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    grace = advance(journal, job, "grace", 2.0, state=JobState.GRACE)
    with pytest.raises(StaleJobError):
        advance(journal, job, "grace", 3.0, state=JobState.GRACE)
    assert journal.job(job.id) == grace
    assert len(journal.events(job.id)) == 2


def test_lost_token_changes_nothing(journal) -> None:
    """A run that has lost its token changes nothing."""
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    job = advance(journal, job, "grace", 2.0, state=JobState.GRACE)
    job = advance(journal, job, "queued", 2.0, state=JobState.QUEUED)
    first = advance(journal, job, "started", 3.0, state=JobState.RUNNING, run_id="one", attempts=1)
    back = advance(journal, first, "released", 4.0, state=JobState.QUEUED, run_id=None, attempts=0)
    second = advance(journal, back, "started", 5.0, state=JobState.RUNNING, run_id="two", attempts=1)
    with pytest.raises(StaleJobError):
        advance(journal, first, "generated", 6.0, state=JobState.CHECKING)
    assert journal.job(job.id) == second


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(JobState), max_size=12))
def test_only_the_table_moves_a_job(tmp_path_factory, steps) -> None:
    """Whatever is tried, a job goes only where TRANSITIONS says, and its events tell the whole way."""
    with Journal.open(tmp_path_factory.mktemp("journal")) as journal:
        (job,) = journal.add([(b"a.mp4", b"")], 0.0)
        way = [JobState.ARRIVING]
        for now, state in enumerate(steps, 1):
            if state == job.state or may_go(job.state, state):
                job = advance(journal, job, "waiting", float(now), state=state)
                way.append(state)
            else:
                with pytest.raises(JournalError):
                    advance(journal, job, "waiting", float(now), state=state)
            assert journal.job(job.id) == job
        assert [event.state for event in journal.events(job.id)] == way


def test_publishing_never_leads_back() -> None:
    """From publishing no transition leads back to the queue."""
    assert TRANSITIONS[JobState.PUBLISHING] == {JobState.DONE, JobState.FAILED}
    assert {JobState.DONE, JobState.FAILED, JobState.BLOCKED, JobState.REJECTED, JobState.CANCELLED} == ENDS


def test_every_state_ends_and_is_reached() -> None:
    reached, frontier = {JobState.ARRIVING}, [JobState.ARRIVING]
    while frontier:
        for onward in TRANSITIONS[frontier.pop()] - reached:
            reached.add(onward)
            frontier.append(onward)
    assert reached == set(JobState)


def test_clip_has_one_job_at_a_time(journal) -> None:
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    with pytest.raises(JournalError, match="refuses a change: UNIQUE"):
        journal.add([(b"a.mp4", b"")], 2.0)
    advance(journal, job, "cancelled", 2.0, state=JobState.CANCELLED)
    (again,) = journal.add([(b"a.mp4", b"")], 3.0)
    assert journal.known()[b"a.mp4"].job == again.id


def test_two_of_a_stem_keep_two_names(journal, tmp_path) -> None:
    """Two clips of one stem have two names, for good."""
    one, two, other = journal.add([(b"d/a.mp4", b""), (b"d/a.mov", b""), (b"a.mov", b"")], 1.0)
    assert (one.base, two.base, other.base) == (b"a", b"a.mov", b"a")
    advance(journal, two, "cancelled", 2.0, state=JobState.CANCELLED)
    assert journal.add([(b"d/a.mov", b"")], 3.0)[0].base == b"a.mov"


def test_base_is_free_without_a_result(journal) -> None:
    """A base is free again when its clip left without a result."""
    (wrong,) = journal.add([(b"a.mov", b"")], 1.0)
    advance(journal, wrong, "cancelled", 2.0, state=JobState.CANCELLED)
    journal.give_base_back(b"a.mov")
    assert journal.add([(b"a.mp4", b"")], 3.0)[0].base == b"a"


HOLD = """
import sys
from pathlib import Path
from povwatch.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
print("open", flush=True)
input()
"""


def test_second_daemon_is_refused(tmp_path) -> None:
    """A second daemon is refused with the first one's pid, as long as that lives."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout.readline() == b"open\n"
        assert holder(tmp_path) == child.pid
        with pytest.raises(ConfigError, match=f"pid {child.pid}"):
            Journal.open(tmp_path)
    finally:
        child.kill()
        child.communicate()
    assert holder(tmp_path) is None
    Journal.open(tmp_path).close()


def test_commands_read_while_it_writes(journal, tmp_path) -> None:
    """The commands read while the daemon writes, and cannot write."""
    journal.add([(b"a.mp4", b"")], 1.0)
    with open_reader(tmp_path) as reader:
        assert reader.counts() == {JobState.ARRIVING: 1}
        journal.add([(b"b.mp4", b"")], 1.0)
        assert reader.counts() == {JobState.ARRIVING: 2}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM jobs")


def test_no_journal_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(JournalError, match="Start the daemon"):
        open_reader(tmp_path)


def test_damaged_journal_is_a_clear_error(tmp_path) -> None:
    """A damaged journal is a clear error, is not changed, and stays closed."""
    with Journal.open(tmp_path) as journal:
        journal.add([(b"%d.mp4" % n, b"") for n in range(500)], 1.0)
    file = tmp_path / FILE
    data = bytearray(file.read_bytes())
    data[4096:12288] = os.urandom(8192)
    file.write_bytes(data)
    with pytest.raises(JournalError, match="povwatch rebuild --move-aside") as caught:
        Journal.open(tmp_path)
    assert file.read_bytes() == data
    assert [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and fd.readlink() == file] == [], caught


def test_newer_journal_is_left_alone(tmp_path) -> None:
    Journal.open(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(JournalError, match="newer povwatch"):
        Journal.open(tmp_path)


def test_journal_from_before_hooks(tmp_path) -> None:
    """A journal from before hooks is brought up to date."""
    first = (files("povwatch.journal") / "sql/migrations/0001_jobs.sql").read_text()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.executescript(first + "PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO jobs (path, base, state, created_at, updated_at) VALUES (x'61', x'61', 'arriving', 1, 1)"
        )
    db.close()
    with Journal.open(tmp_path) as journal:
        (job,) = journal.jobs()
        assert journal.hooks(job.id) == {}
        run = HookRecord(job.id, "mano", HookState.RUNNING, 1, source_hash="bytes", updated_at=2.0)
        journal.set_hook(run)
        assert journal.hooks_interrupted() == [run]
    with open_reader(tmp_path) as reader:
        assert reader.hooks(job.id) == {"mano": run}


def test_journal_from_before_damage(tmp_path) -> None:
    """A journal from before damaged clips is read, and brought up to date."""
    folder = files("povwatch.journal") / "sql/migrations"
    with sqlite3.connect(tmp_path / FILE) as db:
        for name in ("0001_jobs.sql", "0002_hooks.sql"):
            db.executescript((folder / name).read_text())
        db.execute("PRAGMA user_version = 2")
        db.execute(
            "INSERT INTO jobs (path, base, state, created_at, updated_at) VALUES (x'61', x'61', 'arriving', 1, 1)"
        )
    db.close()
    with open_reader(tmp_path) as reader:  # no daemon of this version has opened it yet
        assert [job.damaged for job in reader.jobs()] == [None]
    with Journal.open(tmp_path) as journal:
        (job,) = journal.jobs()
        advance(journal, job, "request", 2.0, damaged=b"signature")
        assert journal.job(job.id).damaged == b"signature"


def test_journal_from_before_looks(tmp_path) -> None:
    """A journal from before looks is read, and brought up to date: every clip has its own look alone."""
    folder = files("povwatch.journal") / "sql/migrations"
    with sqlite3.connect(tmp_path / FILE) as db:
        for name in ("0001_jobs.sql", "0002_hooks.sql", "0003_damaged.sql"):
            db.executescript((folder / name).read_text())
        db.execute("PRAGMA user_version = 3")
        db.execute("INSERT INTO jobs (path, base, state, created_at, updated_at) VALUES (x'61', x'61', 'grace', 1, 1)")
    db.close()
    with open_reader(tmp_path) as reader:  # no daemon of this version has opened it yet
        assert reader.known().keys() == {b"a"}
        assert reader.latest(b"a") == reader.looks(b"a")[0]
    with Journal.open(tmp_path) as journal:
        job = journal.latest(b"a")
        assert (job.look, job.state) == ("", JobState.GRACE)
        (night,) = journal.add([(b"a", b"")], 2.0, look="night")
        assert [j.id for j in journal.looks(b"a")] == [job.id, night.id]


def test_journal_from_before_tries(tmp_path) -> None:
    """A journal from before seeds were tried is read, and brought up to date."""
    folder = files("povwatch.journal") / "sql/migrations"
    with sqlite3.connect(tmp_path / FILE) as db:
        for name in ("0001_jobs.sql", "0002_hooks.sql", "0003_damaged.sql", "0004_looks.sql"):
            db.executescript((folder / name).read_text())
        db.execute("PRAGMA user_version = 4")
        db.execute("INSERT INTO jobs (path, base, state, created_at, updated_at) VALUES (x'61', x'61', 'queued', 1, 1)")
    db.close()
    with open_reader(tmp_path) as reader:  # no daemon of this version has opened it yet
        assert [job.tries for job in reader.jobs()] == [None]
    with Journal.open(tmp_path) as journal:
        (job,) = journal.jobs()
        advance(journal, job, "request", 2.0, tries="{}")
        assert journal.job(job.id).tries == "{}"


def test_one_open_job_of_each_look(journal) -> None:
    """Each look of a clip has jobs of its own, and at most one that is open; all have the clip's base."""
    jobs = [journal.add([(b"a.mp4", b"")], 1.0, look=look)[0] for look in ("", "night", "rain")]
    assert [(job.look, job.base) for job in jobs] == [("", b"a"), ("night", b"a"), ("rain", b"a")]
    with pytest.raises(JournalError, match="UNIQUE"):
        journal.add([(b"a.mp4", b"")], 2.0, look="night")
    advance(journal, jobs[1], "cancelled", 3.0, state=JobState.CANCELLED)
    (again,) = journal.add([(b"a.mp4", b"")], 4.0, look="night")
    assert journal.latest(b"a.mp4", "night") == again
    assert journal.latest(b"a.mp4") == jobs[0]
    known, looks = journal.known_and_looks()
    assert known[b"a.mp4"].job == jobs[0].id
    assert {look: found.job for look, found in looks[b"a.mp4"].items()} == {"night": again.id, "rain": jobs[2].id}


def test_done_run_is_of_the_same_look(journal) -> None:
    """The same JSON in two looks makes two results."""
    (job,) = journal.add([(b"a.mp4", b"")], 1.0, look="night")
    fields = {"source_hash": "A", "spec_hash": "s", "engine": "cosmos"}
    for state in (JobState.GRACE, JobState.QUEUED, JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
        job = advance(journal, job, "waiting", 2.0, state=state, **fields)
    done = advance(journal, job, "done", 3.0, state=JobState.DONE)
    assert journal.done_run(done, "s", "cosmos") == done
    (own,) = journal.add([(b"a.mp4", b"")], 4.0)
    own = advance(journal, own, "waiting", 5.0, source_hash="A")
    assert journal.done_run(own, "s", "cosmos") is None


def test_progress_and_facts(journal) -> None:
    """The journal has the latest progress of a job until it ends, and the latest facts."""
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    journal.set_progress(job.id, {"step": 1}, 2.0)
    journal.set_progress(job.id, {"step": 2}, 3.0)
    assert journal.progress(job.id) == {"step": 2}
    advance(journal, job, "cancelled", 4.0, state=JobState.CANCELLED)
    assert journal.progress(job.id) is None
    journal.set_facts(engine="preview", gpu=None)
    assert (journal.fact("engine"), journal.fact("gpu"), journal.fact("nothing")) == ("preview", None, None)


def test_every_query_has_its_name() -> None:
    """SQL lives in files, each query named and with a comment or a plain upsert."""
    folder = Path(__file__).parents[3] / "povwatch" / "journal" / "sql"
    for file in ("read.sql", "write.sql"):
        assert (folder / file).read_text().count("-- name:") > 10


CALLS = {
    name: call
    for name, call in sorted({**vars(JournalReader), **vars(Journal)}.items())
    if callable(call) and not name.startswith("_") and not isinstance(call, classmethod)
}


@pytest.mark.parametrize("name", CALLS)
def test_no_other_thread_may_call_it(journal, name) -> None:
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    wanted = [p for p in inspect.signature(CALLS[name]).parameters.values() if p.default is p.empty]
    data = [[], 1.0] if name == "add" else [job for p in wanted[1:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    raised = []

    def call():
        try:
            with contextlib.ExitStack() as entered:
                found = CALLS[name](journal, *data, **{"anything": 1} if name == "set_facts" else {})
                if hasattr(found, "__enter__"):
                    entered.enter_context(found)
        except Exception as error:  # noqa: BLE001 - which one is what is asked
            raised.append(error)

    thread = threading.Thread(target=call, name="another")
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [WrongThreadError]
    assert str(raised[0]) == "The journal belongs to MainThread, and another has called it."
    assert [job.path for job in journal.jobs()] == [b"a.mp4"], "it goes on in its own"


def test_wrong_thread_is_our_mistake() -> None:
    """A call from another thread is a mistake of ours, not of the disk."""
    assert not issubclass(WrongThreadError, PovwatchError)


def test_newer_reason_costs_no_start(journal) -> None:
    """A reason that a newer povwatch wrote is none, and no error."""
    (job,) = journal.add([(b"a.mp4", b"")], 1.0)
    journal._db.execute("UPDATE jobs SET waiting_on = 'a new reason'")
    assert journal.job(job.id).waiting_on is None
