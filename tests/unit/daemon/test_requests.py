"""The answers to requests: each says what to type, so that it can be pasted, and says nothing twice."""

from __future__ import annotations

import shlex

import pytest
from structlog.testing import capture_logs
from support.put import advance

from povwatch.core import command as module
from povwatch.core.command import use
from povwatch.core.job import JobState
from povwatch.core.scope import Scope
from povwatch.daemon.requests import Requests
from povwatch.results.stage import Postponed

CLIP = b"my clip.mp4"


@pytest.fixture(autouse=True)
def called():
    before = list(module._words)
    use("script/povwatch")
    yield
    use(*before)


@pytest.fixture
def app(build):
    app = build().app
    app.spool.prepare()
    return app


@pytest.fixture
def answer_of(app):
    """Ask something of a job in some state; the answer."""
    requests = Requests(app)

    def answer_of(verb, word, **options):
        request = app.spool.ask(verb, word, **options)
        requests.tick(0)
        return app.spool.wait(request, 5)

    return answer_of


@pytest.fixture
def ask(answer_of):
    """The same; the answer's words."""
    return lambda verb, word, **options: answer_of(verb, word, **options).text


def there(app, *states, path=CLIP, look="", **to):
    """A job that has gone through these states."""
    (job,) = app.store.add([(path, b"sig")], look=look)
    for state in states:
        job = advance(app.journal, job, "waiting", 1.0, state=state, **to)
    return app.store.reread(job.id)


DONE = (JobState.GRACE, JobState.DONE)
GENERATED = (JobState.GRACE, JobState.QUEUED, JobState.RUNNING, JobState.CHECKING)


@pytest.mark.parametrize(
    ("states", "verb", "command"),
    [
        (DONE, "retry", "script/povwatch retry --force 'my clip.mp4'"),
        (DONE, "go", "script/povwatch retry --force 'my clip.mp4'"),
        ((JobState.CANCELLED,), "hold", "script/povwatch retry 'my clip.mp4'"),
        ((), "cancel", "script/povwatch retry 'my clip.mp4'"),
        ((), "hold", "script/povwatch go 'my clip.mp4'"),
    ],
)
def test_what_to_type_can_be_pasted(app, ask, states, verb, command):
    there(app, *states)
    text = ask(verb, "my clip")
    assert command in text
    assert text.count("povwatch") == 1


@pytest.mark.parametrize(
    ("states", "answer"),
    [
        (GENERATED, "it is finished now, not after the pause; nothing is generated anew."),
        ((*GENERATED, JobState.PUBLISHING), "it is published now, not after the pause; nothing is generated anew."),
        (GENERATED[:-1], "it is running already: there is nothing to retry."),
    ],
)
def test_retry_ends_a_pause(app, ask, states, answer):
    """retry ends a pause after generating, and generates nothing."""
    job = there(app, *states)
    if job.state is not JobState.RUNNING:
        app.results._postponed[job.id] = Postponed(app.clock.boot() + 60.0)
    assert ask("retry", "my clip") == answer


def test_unknown_clip_is_answered(ask):
    """An unknown clip is answered with the command that lists the known ones."""
    # The command line and the log put the word in front.
    assert ask("go", "zebra") == "no clip here is called so. All that were seen: script/povwatch jobs"


def test_nearest_clip_is_named(app, ask):
    there(app)
    meant = "no clip here is called so. Did you mean my clip.mp4? All that were seen: script/povwatch jobs"
    assert ask("hold", "my_clip.mp4") == meant


def test_several_clips_have_a_command_each(app, ask):
    """A word that means several clips is answered with a command for each."""
    there(app, path=b"x/my a.mp4")
    there(app, path=b"y/my a.mp4")
    text = ask("retry", "my a", force=True)
    assert text == (
        "2 clips are called so. Take one: "
        "script/povwatch retry --force 'x/my a.mp4' or script/povwatch retry --force 'y/my a.mp4'"
    )
    assert shlex.split(text.partition(": ")[2])[:4] == ["script/povwatch", "retry", "--force", "x/my a.mp4"]


@pytest.mark.parametrize("verb", ["go", "hold"])
def test_no_retry_for_what_is_no_video(app, ask, verb):
    """Nobody is told to retry what is no video."""
    there(app, JobState.REJECTED, error="It is a symbolic link. Copy the video itself.")
    assert ask(verb, "my clip") == "it is rejected already: It is a symbolic link. Copy the video itself."


def test_hold_file_is_named_too(app, ask, tmp_path):
    """A go for a clip that a file holds, too, says that it goes once that is removed."""
    there(app)
    (tmp_path / "inputs/my clip.hold").touch()
    assert ask("go", "my clip") == "the file my clip.hold still holds it: remove that, and it starts."


def test_go_while_the_folder_is_away(app, ask, tmp_path):
    """A go while the folder is away is kept, and the answer says so."""
    there(app)
    (tmp_path / "inputs").rename(tmp_path / "away")
    text = ask("go", "my clip")
    assert text.startswith("it is noted, and the clip starts when inputs/ can be read again: Cannot read ")
    assert app.store.of_path(CLIP).go


def test_option_stands_for_the_clip(ask):
    """A line in the log about no clip names the option."""
    with capture_logs() as lines:
        ask("retry", "", previews=True)
    assert [line["clip"] for line in lines] == ["--previews"]


def test_preview_machine_is_sent_to_doctor(ask):
    assert "script/povwatch doctor" in ask("retry", "", previews=True)


def test_unnamed_clips_are_not_touched(app, ask):
    """Requests do not touch clips that --once was not given."""
    job = there(app, JobState.GRACE)
    there(app, JobState.GRACE, path=b"named.mp4")
    app.store.scope = Scope(frozenset({b"named.mp4"}))
    for verb in ("go", "hold", "cancel", "retry"):
        assert "this povwatch runs other clips alone" in ask(verb, "my clip")
    assert app.store.of_path(CLIP) == job
    assert ask("hold", "named") == "it is held until script/povwatch go named.mp4"


def of_looks(app, *states):
    """A clip with two further looks; those of all three went through these states."""
    return [there(app, *states, look=look) for look in ("", "night", "rain")]


def test_hold_and_cancel_take_all_looks(app, answer_of):
    """A clip's name means all of its looks, the clip with a look means that one, the clip with @ its own alone."""
    of_looks(app, JobState.GRACE)
    found = answer_of("hold", "my clip")
    assert found.text == "3 of its 3 looks:"
    assert [line.partition(":")[0] for line in found.lines] == ["my clip.mp4", "my clip.mp4@night", "my clip.mp4@rain"]
    assert "script/povwatch go 'my clip.mp4@night'" in found.lines[1]
    assert all(job.hold for job in app.store.all_looks(CLIP))
    answer_of("go", "my clip@night")
    assert [job.hold for job in app.store.all_looks(CLIP)] == [True, False, True]
    answer_of("cancel", "my clip@")
    assert [str(job.state) for job in app.store.all_looks(CLIP)] == ["cancelled", "grace", "grace"]
    found = answer_of("cancel", "my clip")
    assert (found.done, found.text) == (True, "2 of its 3 looks:")
    found = answer_of("cancel", "my clip")
    assert (found.done, found.text) == (False, "nothing changes:")


def test_forced_retry_of_one_look(app, answer_of):
    """With --force one look has to be named: all would be generated once more."""
    of_looks(app, JobState.GRACE)
    found = answer_of("retry", "my clip", force=True)
    assert not found.done
    assert "it has 3 looks. Say which one" in found.text
    assert "script/povwatch retry --force 'my clip.mp4@' or script/povwatch retry --force" in found.text


def test_unknown_look(app, answer_of):
    """A look that the clip does not have is told, with those that it has."""
    of_looks(app, JobState.GRACE)
    found = answer_of("cancel", "my clip@nihgt")
    assert (found.done, found.text) == (False, 'my clip.mp4 has no look "nihgt". It has: night, rain.')


def test_number_means_one_look(app, answer_of):
    """A job's number means the look of that job alone."""
    jobs = of_looks(app, JobState.GRACE)
    answer_of("hold", f"#{jobs[1].id}")
    assert [job.hold for job in app.store.all_looks(CLIP)] == [False, True, False]
