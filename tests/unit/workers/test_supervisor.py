import signal
from math import inf

import pytest
from support.hand_clock import HandClock
from support.supervising import World, request

from povwatch.core import errors
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.launch import Launch
from povwatch.workers.process import HungUp, Printed
from povwatch.workers.states import InvalidState, SupervisorState, Timeouts
from povwatch.workers.supervisor import Supervisor

S = SupervisorState
ASKED_THEN_KILLED = [signal.SIGUSR1, signal.SIGKILL]


@pytest.fixture
def world():
    world = World()
    yield world
    world.log.close()


def test_start_sends_the_configuration(world):
    """A start sends the configuration, tells how far loading is, and then what was loaded."""
    world.start()
    assert (world.supervisor.state, world.worker.sent) == (S.LOADING, [protocol.Load({"model": "edge"})])
    world.worker.says(protocol.Hello(1, "3.10.0"))
    world.worker.says(protocol.LoadProgress("weights", 0.5))
    assert world.poll() == []
    assert world.supervisor.loading == ("weights", 0.5)
    assert world.supervisor.capabilities is None
    world.now += 7
    world.worker.says(protocol.Loaded({"name": "fake"}))
    assert world.poll() == [events.EngineLoaded({"name": "fake"}, 7.0)]
    assert world.supervisor.state is S.READY
    assert world.supervisor.capabilities == {"name": "fake"}


def test_bad_configuration_starts_nothing():
    """A configuration that is no JSON is refused before anything starts."""
    with pytest.raises(protocol.ProtocolError):
        Supervisor(
            Launch("python", "x:Y", {"x": object()}, {}),
            Timeouts(load=1, stall=1),
            clock=HandClock(),
            new_process=lambda _: None,
        )


def test_job_runs_and_tells_its_progress(world):
    """A job runs, and its progress is told when it changes."""
    world.busy()
    assert world.worker.sent[-1] == request()
    for step in (1, 1, 2):
        world.worker.says(protocol.Progress(1, "r1", "denoise", 0, 2, step, 4))
    steps = [protocol.Progress(1, "r1", "denoise", 0, 2, step, 4) for step in (1, 2)]
    assert world.poll() == steps
    assert steps[-1].fraction == 0.25
    world.worker.says(protocol.Generated(1, "r1", {"path": "x"}))
    assert world.poll() == [protocol.Generated(1, "r1", {"path": "x"})]
    assert world.supervisor.state is S.READY


@pytest.mark.parametrize(
    ("chunk", "chunks", "step", "steps", "fraction"), [(0, 0, 0, 0, 0), (3, 3, 0, 1, 1), (2, 3, 9, 3, 1)]
)
def test_fraction_is_one(chunk, chunks, step, steps, fraction):
    """A fraction is between 0 and 1, whatever a worker says."""
    assert protocol.Progress(1, "r", "s", chunk, chunks, step, steps).fraction == fraction


def test_late_messages_are_dropped(world):
    """Messages of an attempt that is not under way are dropped and logged."""
    world.busy()
    world.worker.says(protocol.Generated(1, "r0", {"path": "old"}))
    assert world.poll() == []
    assert world.supervisor.state is S.BUSY
    assert ("late-message", {"type": "generated", "run_id": "r0"}) in world.log.lines
    world.worker.says(protocol.Generated(1, "r1", {"path": "x"}))
    world.worker.says(protocol.Failed(1, "r1", "error", "again", ""))
    assert world.poll() == [protocol.Generated(1, "r1", {"path": "x"})]


def test_other_protocol_is_not_used(world):
    """A worker that speaks another protocol is not used."""
    world.start()
    world.worker.says(protocol.Hello(1, "3.10.0", protocol.VERSION + 1))
    world.worker.says(protocol.Loaded({}))
    assert world.poll() == []
    world.worker.exits(-9)
    (told,) = world.poll()
    assert isinstance(told, events.EngineUnavailable)
    assert "protocol" in told.message


def test_failed_load_is_tried_again(world):
    """A failed load is told at once, and tried again after ever longer pauses."""
    world.start()
    pauses = []
    for attempt in range(1, 9):
        assert len(world.workers) == attempt
        world.worker.says(protocol.LoadFailed("gpu-lost", "no GPU", "look"))
        (told,) = world.poll()
        assert (told.failure_kind, told.message, told.todo) == ("gpu-lost", "no GPU", "look")
        assert isinstance(world.supervisor.last_error, errors.GpuLost)
        pauses.append(told.retry_at - world.now)
        world.worker.exits(3)
        assert world.wait(pauses[-1] - 0.1) == []
        assert world.supervisor.state is S.BACKOFF
        world.wait(0.1)
        assert world.supervisor.state is S.LOADING
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_failed_worker_that_stays_is_killed(world):
    """A worker that stays after a failed load is killed, and the next one waits for its end."""
    world.start()
    world.worker.says(protocol.LoadFailed("error", "no", ""))
    world.poll()
    world.wait(2.9)
    assert world.worker.signals == []
    world.wait(1)
    assert world.worker.signals == [signal.SIGKILL]
    assert len(world.workers) == 1
    world.worker.exits(-9)
    assert world.wait(1) == []
    assert len(world.workers) == 2


def test_missing_interpreter_is_tried_again(world):
    world.cannot_start = FileNotFoundError(2, "No such file or directory")
    world.start()
    (told,) = world.poll()
    assert "engine.python 'python' cannot be started: No such file" in told.message
    world.cannot_start = None
    world.wait(2)
    assert world.supervisor.state is S.LOADING


@pytest.mark.parametrize("returncode", [0, 1])
def test_death_while_loading_is_no_engine(world, returncode):
    """A worker that dies while loading is no engine, and its last line is told."""
    world.start()
    world.worker.items.append(Printed("ImportError: no torch"))
    world.worker.exits(returncode)
    output, told = world.poll()
    assert output == events.EngineOutput("ImportError: no torch")
    assert told.message == f"The worker exited with status {returncode}. It last printed: ImportError: no torch"


def test_last_line_is_no_progress_bar(world):
    """What a killed worker last printed is told without its progress bars."""
    world.busy()
    for line in ("Seed: 7", "Generating samples:  40%|####      | 14/35 [02:01<03:01,  8.65s/it]"):
        world.worker.items.append(Printed(line))
    world.worker.exits(-9)
    told = world.poll()[-1]
    assert str(told.error).endswith("It last printed: Seed: 7")


def test_load_has_a_deadline(world):
    """A load has a deadline, however it beats."""
    world.start()
    world.worker.says(protocol.LoadProgress("weights", 0.1))
    assert world.wait(1799) == []
    world.wait(1.5)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    (told,) = world.poll()
    assert "not loaded within 1800 s (stage 'weights')" in told.message


def test_step_without_advance_is_a_stall(world):
    """A step that does not advance is a stall: its stack is asked for, then the worker is killed."""
    world.busy()
    world.wait(500)
    world.worker.says(protocol.Progress(1, "r1", "denoise", 0, 1, 1, 35))
    world.wait(300)
    world.worker.says(protocol.Progress(1, "r1", "denoise", 0, 1, 1, 35))  # says it again: no advance
    assert world.wait(299) == []
    world.wait(1)
    assert world.worker.signals == [signal.SIGUSR1]
    world.worker.says(protocol.Generated(1, "r1", {"path": "too late"}))
    assert world.wait(0.5) == []
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    (told,) = world.poll()
    assert (told.job_id, told.run_id) == (1, "r1")
    assert isinstance(told.error, errors.WorkerStalled)
    assert "600 s ('denoise', step 1 of 35, chunk 0 of 1)" in told.error.what


@pytest.mark.parametrize("state", ["loading", "ready", "busy"])
def test_silent_worker_is_killed(world, state):
    {"loading": world.start, "ready": world.loaded, "busy": world.busy}[state]()
    assert world.wait(29.9, beating=False) == []
    world.wait(0.6, beating=False)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    (told,) = world.poll()
    assert isinstance(told, events.EngineUnavailable if state == "loading" else events.WorkerLost)
    assert "said nothing for 30 s" in str(world.supervisor.last_error)


def test_sleep_of_the_machine_is_no_fault(world):
    world.busy()
    world.now += 8 * 3600
    assert world.poll() == []
    assert world.worker.signals == []
    world.wait(29, beating=False)
    assert world.worker.signals == []
    world.wait(1.5, beating=False)
    assert world.worker.signals == ASKED_THEN_KILLED


@pytest.mark.parametrize(
    ("returncode", "says"),
    [
        (0, "exited with status 0"),
        (9, "exited with status 9"),
        (-9, "was killed by SIGKILL (often the kernel's out-of-memory killer: see journalctl -k)"),
        (-11, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
    ],
)
def test_dead_worker_takes_its_job_along(world, returncode, says):
    world.busy()
    world.worker.exits(returncode)
    (told,) = world.poll()
    assert (told.job_id, told.run_id, told.retry_at) == (1, "r1", world.now + 2)
    assert isinstance(told.error, errors.WorkerDied)
    assert told.error.what.startswith(f"The worker {says}")
    world.wait(2)
    assert world.supervisor.state is S.LOADING


def test_death_between_jobs(world):
    """A worker that dies between jobs is lost without one."""
    world.loaded()
    world.worker.exits(1)
    (told,) = world.poll()
    assert (told.job_id, told.run_id) == (None, None)


@pytest.mark.parametrize(
    ("kind", "error", "replaced_after"),
    [
        ("out-of-memory", errors.OutOfMemory, 0),
        ("sticky", errors.AttemptFailed, 0),
        ("gpu-lost", errors.GpuLost, 2),
        ("gpu-busy", errors.GpuBusy, None),
        ("disk-full", errors.DiskFull, None),
        ("invalid", errors.JobFailed, None),
        ("error", errors.AttemptFailed, None),
        ("unheard-of", errors.AttemptFailed, None),
    ],
)
def test_failure_kind_decides_replacement(world, kind, error, replaced_after):
    """A failure is its error, and only a spoilt worker is replaced."""
    world.busy()
    world.worker.says(protocol.Failed(1, "r1", kind, "what", "todo"))
    (told,) = world.poll()
    assert (told.failure_kind, type(told.error), told.error.what, told.error.todo) == (kind, error, "what", "todo")
    if replaced_after is None:
        assert (world.supervisor.state, world.worker.signals) == (S.READY, [])
        return
    assert (world.supervisor.state, world.worker.signals) == (S.BACKOFF, [signal.SIGKILL])
    assert world.supervisor.retry_at == world.now + replaced_after
    world.worker.exits(-9)
    assert world.wait(replaced_after) == []
    assert (world.supervisor.state, len(world.workers)) == (S.LOADING, 2)


def test_pauses_begin_anew(world):
    """The pauses begin anew after a job, or after a minute."""
    for _ in range(3):
        world.start() if not world.workers else world.wait(60)
        world.worker.says(protocol.Loaded({}))
        world.poll()
        world.worker.exits(1)
        world.poll()
    assert world.supervisor.retry_at == world.now + 8
    world.wait(8)
    world.worker.says(protocol.Loaded({}))
    world.poll()
    world.supervisor.generate(request())
    world.worker.says(protocol.Blocked(1, "r1", "no"))
    assert isinstance(world.poll()[0].error, errors.Blocked)
    world.worker.exits(1)
    world.poll()
    assert world.supervisor.retry_at == world.now + 2
    world.wait(2)
    world.worker.says(protocol.Loaded({}))
    world.poll()
    world.wait(60)
    world.worker.exits(1)
    world.poll()
    assert world.supervisor.retry_at == world.now + 2


@pytest.mark.parametrize(
    "end",
    [
        protocol.Cancelled(1, "r1"),
        protocol.Generated(1, "r1", {"path": "x"}),
        protocol.Failed(1, "r1", "error", "cleaning up", ""),
    ],
)
def test_cancelled_job_ends_cancelled(world, end):
    """A cancelled job ends as cancelled, however the engine ends it."""
    world.busy()
    world.supervisor.cancel("r1", "deleted")
    world.supervisor.cancel("r1", "deleted twice")
    assert world.worker.sent[-1] == protocol.Cancel(1, "r1", "deleted")
    world.worker.says(end)
    assert world.poll() == [events.JobCancelled(1, "r1", "deleted")]
    assert world.supervisor.state is S.READY


def test_unheeded_cancel_kills(world):
    """A cancellation that is not heeded kills the worker."""
    world.busy()
    world.supervisor.cancel("r1", "deleted")
    assert world.wait(59) == []
    world.wait(1.5)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    cancelled, lost = world.poll()
    assert cancelled == events.JobCancelled(1, "r1", "deleted")
    assert (lost.run_id, type(lost.error)) == (None, errors.WorkerStalled)


def test_cancel_is_for_one_job(world):
    """A cancellation does not carry over to the next job."""
    world.busy()
    world.supervisor.cancel("r1", "deleted")
    world.worker.says(protocol.Cancelled(1, "r1"))
    world.poll()
    world.supervisor.generate(request("r2", 2))
    world.worker.says(protocol.Generated(2, "r2", {}))
    assert world.poll() == [protocol.Generated(2, "r2", {})]


def test_stop_asks_terminates_kills(world):
    """A stop asks, terminates, kills, and gives up within eight seconds."""
    world.busy()
    world.supervisor.stop("the daemon ends")
    assert (world.supervisor.state, world.worker.sent[-1]) == (S.STOPPING, protocol.Shutdown())
    world.wait(4.9)
    assert world.worker.signals == []
    world.wait(0.1)
    assert world.worker.signals == [signal.SIGTERM]
    world.wait(1)
    assert world.worker.signals == [signal.SIGTERM, signal.SIGKILL]
    told = world.wait(1.5)
    assert told == [events.JobCancelled(1, "r1", "the daemon ends")]
    assert world.supervisor.state is S.STOPPED
    assert "worker-unkillable" in world.log.names()


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (None, events.JobCancelled(1, "r1", "bye")),
        (protocol.Cancelled(1, "r1"), events.JobCancelled(1, "r1", "bye")),
        (protocol.Generated(1, "r1", {"path": "x"}), protocol.Generated(1, "r1", {"path": "x"})),
    ],
)
def test_job_under_way_at_a_stop(world, end, event):
    """A job under way at a stop is cancelled, unless it is just done."""
    world.busy()
    world.supervisor.stop("bye")
    if end is not None:
        world.worker.says(end)
    world.worker.exits(1)
    assert world.poll() == [event]
    assert (world.supervisor.state, world.supervisor.next_deadline()) == (S.STOPPED, None)


def test_stop_between_workers(world):
    """A stop between two workers is done at once, and a start begins anew."""
    world.loaded()
    world.worker.exits(1)
    world.poll()
    world.supervisor.stop("bye")
    assert world.supervisor.state is S.STOPPED
    assert world.wait(120) == []
    world.start()
    assert world.supervisor.state is S.LOADING


def test_untold_loss_is_told_at_a_stop(world):
    world.busy()
    world.wait(30, beating=False)
    world.supervisor.stop("bye")
    world.worker.exits(-9)
    (told,) = world.poll()
    assert (type(told), told.run_id) == (events.WorkerLost, "r1")
    assert world.supervisor.state is S.STOPPED


def test_undying_worker_blocks_the_next(world):
    """A worker that does not die is told, and nothing is started beside it."""
    world.busy()
    world.wait(30.5, beating=False)
    lost, unavailable = world.wait(10)
    assert (lost.run_id, unavailable.failure_kind, unavailable.retry_at) == ("r1", "gpu-lost", inf)
    assert world.wait(3600) == []
    assert len(world.workers) == 1
    world.worker.exits(-9)
    assert world.poll() == []
    assert len(world.workers) == 2


def test_hung_up_worker_is_killed(world):
    """A worker that hung up gets a moment to exit, and is then killed."""
    world.busy()
    world.worker.items.append(HungUp("It broke the protocol: Not JSON."))
    world.wait(2.9)
    assert world.worker.signals == []
    world.wait(0.6)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    (told,) = world.poll()
    assert told.error.what == "The worker listens no more and was killed. It broke the protocol: Not JSON."


@pytest.mark.parametrize("returncode", [0, -9])
def test_death_before_the_job(world, returncode):
    """A worker that dies before it has the job is no fault of the job."""
    world.loaded()
    world.supervisor.generate(request())
    world.worker.exits(returncode)
    cancelled, lost = world.poll()
    assert cancelled == events.JobCancelled(1, "r1", "The worker was lost before the job began.")
    assert (type(lost), lost.run_id) == (events.WorkerLost, None)


def test_each_job_has_to_begin(world):
    """That one job has begun says nothing about the next."""
    world.busy()
    world.worker.says(protocol.Generated(1, "r1", {}))
    world.poll()
    world.supervisor.generate(request("r2", 2))
    world.worker.exits(1)
    assert isinstance(world.poll()[0], events.JobCancelled)


def test_job_for_a_gone_worker(world):
    """A job for a worker that is gone already is released, not charged."""
    world.loaded()
    world.worker.listens = False
    world.supervisor.generate(request())
    world.wait(0.5)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    cancelled, lost = world.poll()
    assert cancelled == events.JobCancelled(1, "r1", "The worker was lost before the job began.")
    assert (type(lost), lost.run_id) == (events.WorkerLost, None)


def test_bad_job_changes_nothing(world):
    """A job that is no JSON is refused and changes nothing."""
    world.loaded()
    world.worker.send = lambda message: protocol.encode(message, 1)
    with pytest.raises(protocol.ProtocolError):
        world.supervisor.generate(request(spec=object()))
    assert world.supervisor.state is S.READY


CALLS = {
    "start": lambda supervisor: supervisor.start(),
    "generate": lambda supervisor: supervisor.generate(request()),
    "cancel": lambda supervisor: supervisor.cancel("r1", "why"),
    "stop": lambda supervisor: supervisor.stop("why"),
    "spawn": lambda supervisor: supervisor.spawn(1000.0),
}
ALLOWED = {
    "stopped": {"start"},
    "loading": {"stop"},
    "ready": {"generate", "stop"},
    "busy": {"cancel", "stop"},
    "backoff": {"stop"},
    "stopping": set(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", ALLOWED)
def test_call_in_a_wrong_state(world, state, call):
    """In each state a call does what it says, or is refused and changes nothing."""
    if state == "loading":
        world.start()
    elif state in ("ready", "backoff", "stopping"):
        world.loaded()
    elif state == "busy":
        world.busy()
    if state == "backoff":
        world.worker.exits(1)
        world.poll()
    elif state == "stopping":
        world.supervisor.stop("why")
    assert world.supervisor.state == state
    before = (list(world.worker.sent) if world.workers else [], len(world.workers), world.supervisor.next_deadline())
    if call in ALLOWED[state]:
        CALLS[call](world.supervisor)
        return
    with pytest.raises(InvalidState):
        CALLS[call](world.supervisor)
    after = (list(world.worker.sent) if world.workers else [], len(world.workers), world.supervisor.next_deadline())
    assert (world.supervisor.state, after) == (state, before)


def test_other_attempt_is_not_cancelled(world):
    """Another attempt than the one under way is not cancelled."""
    world.busy()
    with pytest.raises(InvalidState, match="'r0'"):
        world.supervisor.cancel("r0", "why")
    assert world.worker.sent[-1] == request()


def test_close_ends_everything(world):
    world.busy()
    world.supervisor.close()
    world.supervisor.close()
    assert (world.supervisor.state, world.worker.signals) == (S.STOPPED, [signal.SIGKILL])
    assert "worker-unkillable" in world.log.names()


def test_failed_gpu_ends_worker_and_job(world):
    """A worker whose GPU failed is killed, and its job ends with that."""
    world.busy()
    error = errors.GpuLost("The GPU is gone.")
    world.supervisor.replace(error)
    assert world.worker.signals == [9]
    assert world.poll() == [], "told once it is gone, and its memory free"
    world.worker.says(protocol.Generated(1, "r1", {"path": "x"}))
    world.worker.exits(-9)
    (lost,) = [event for event in world.poll() if isinstance(event, events.WorkerLost)]
    assert (lost.job_id, lost.run_id, lost.error) == (1, "r1", error)
    world.wait(2)
    assert len(world.workers) == 2


@pytest.mark.parametrize(
    ("error", "kind"), [(errors.GpuLost("Gone."), "gpu-lost"), (errors.EnvironmentFault("Xid."), "error")]
)
def test_failed_gpu_while_loading(world, error, kind):
    """A GPU that fails while the engine loads leaves no engine."""
    world.start()
    world.supervisor.replace(error)
    world.worker.exits(-9)
    (told,) = world.poll()
    assert isinstance(told, events.EngineUnavailable)
    assert told.failure_kind == kind


def test_ending_worker_is_not_replaced_again(world):
    """A worker that is on its way out is not replaced again."""
    world.busy()
    world.supervisor.replace(errors.WorkerDied("Xid 31."))
    world.supervisor.replace(errors.GpuLost("Xid 79."))
    world.worker.exits(-9)
    (lost,) = world.poll()
    assert str(lost.error) == "Xid 31."
    world.supervisor.replace(errors.GpuLost("Xid 79."))
    assert world.poll() == []


def test_no_worker_before_there_is_room(world):
    """No worker is started before there is room, neither the first nor the next."""
    world.clear = False
    world.start()
    assert world.wait(30) == []
    assert world.workers == []
    assert world.supervisor.state is SupervisorState.BACKOFF
    assert world.supervisor.next_deadline() is not None
    world.clear = True
    world.poll()
    assert len(world.workers) == 1
    world.worker.says(protocol.Loaded({"name": "fake"}))
    world.poll()
    world.clear = False
    world.worker.exits(1)
    world.wait(30)
    assert len(world.workers) == 1, "nor is the next one"
    world.supervisor.stop("the test is over")
    assert world.supervisor.state is SupervisorState.STOPPED


# -- prompts are checked ----------------------------------------------------------------------------------------------

CHECK = protocol.CheckPrompts(1, ["a kitchen"])
CHECKED = protocol.PromptsChecked(1, [[]], "", "")


def test_prompts_are_checked_without_a_job(world):
    """Prompts are checked by a worker without a job, one check at a time; a late answer counts for nothing."""
    world.loaded()
    world.supervisor.check_prompts(CHECK)
    assert world.worker.sent[-1] == CHECK
    assert (world.supervisor.state, world.supervisor.checking) == (S.READY, 1)
    with pytest.raises(InvalidState):
        world.supervisor.check_prompts(CHECK)
    world.worker.says(protocol.PromptsChecked(2, [[]], "", ""))
    world.worker.says(CHECKED)
    world.worker.says(CHECKED)
    assert world.poll() == []
    assert (world.supervisor.checking, world.supervisor.take_checked()) == (None, [CHECKED])
    assert world.supervisor.take_checked() == []


def test_job_may_follow_a_check(world):
    """A job may be given during a check: its time counts from the answer, since the worker begins it then."""
    world.loaded()
    world.supervisor.check_prompts(CHECK)
    world.supervisor.generate(request())
    assert world.supervisor.state is S.BUSY
    with pytest.raises(InvalidState):
        world.supervisor.check_prompts(protocol.CheckPrompts(2, []))
    world.wait(100)
    world.worker.says(CHECKED)
    assert world.wait(599) == []
    assert world.worker.signals == []
    world.worker.says(protocol.Generated(1, "r1", {}))
    assert world.poll() == [protocol.Generated(1, "r1", {})]


@pytest.mark.parametrize("with_job", [False, True])
def test_check_without_an_answer(world, with_job):
    """A worker whose filters do not answer is killed; a job that waits for them did not begin, and is not to blame."""
    world.loaded()
    world.supervisor.check_prompts(CHECK)
    if with_job:
        world.supervisor.generate(request())
    told = world.wait(Timeouts(load=1, stall=1).check + 1)
    assert world.worker.signals == ASKED_THEN_KILLED
    world.worker.exits(-9)
    told += world.poll()
    assert isinstance(told[-1], events.WorkerLost)
    assert "text filters did not answer" in told[-1].error.what
    assert [isinstance(event, events.JobCancelled) for event in told[:-1]] == [True] * with_job
    assert world.supervisor.checking is None


def test_check_that_spoils_the_worker(world):
    """A worker whose GPU was spoilt in a check is replaced, before a job meets the same."""
    world.loaded()
    world.supervisor.check_prompts(CHECK)
    answer = protocol.PromptsChecked(1, [], "sticky", "CUDA error: an illegal memory access was encountered.")
    world.worker.says(answer)
    assert world.poll() == []
    assert world.supervisor.take_checked() == [answer]
    assert 9 in world.worker.signals
    world.worker.exits(-9)
    [lost] = world.poll()
    assert "illegal memory access" in lost.error.what
