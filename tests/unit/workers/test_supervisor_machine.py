"""Whatever happens in whatever order: a call does what it says or is refused, and every job gets exactly one end."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.supervising import World, request

from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.process import HungUp
from povwatch.workers.states import InvalidState, SupervisorState

S = SupervisorState
ENDS = (protocol.Generated, events.JobFailed, events.JobCancelled, events.WorkerLost)
KINDS = ["out-of-memory", "gpu-lost", "gpu-busy", "disk-full", "sticky", "invalid", "error"]
ANSWERS = ["started", "progress", "generated", "blocked", "failed", "cancelled"]


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World()
        self.supervisor = self.world.supervisor
        self.jobs = 0
        self.ended = {}

    def note(self, told):
        for event in told:
            if isinstance(event, ENDS) and event.run_id is not None:
                self.ended[event.run_id] = self.ended.get(event.run_id, 0) + 1

    def attempt(self, call, allowed):
        """Do it; refused exactly where it is not allowed, and then nothing has changed."""
        state, allowed = self.supervisor.state, self.supervisor.state in allowed
        try:
            call()
        except InvalidState:
            assert not allowed
            assert self.supervisor.state is state
        else:
            assert allowed

    @property
    def running(self):
        return bool(self.world.workers) and not self.world.worker.gone

    @rule()
    def start(self):
        self.attempt(self.world.start, {S.STOPPED})

    @rule()
    def stop(self):
        self.attempt(lambda: self.supervisor.stop("why"), {S.LOADING, S.READY, S.BUSY, S.BACKOFF})

    @rule()
    def generate(self):
        run_id = f"r{self.jobs + 1}"
        ready = self.supervisor.state is S.READY
        self.attempt(lambda: self.supervisor.generate(request(run_id, self.jobs + 1)), {S.READY})
        if ready:
            self.jobs += 1
            self.ended.setdefault(run_id, 0)

    @precondition(lambda self: self.supervisor.checking is None)
    @rule()
    def check_prompts(self):
        self.attempt(lambda: self.supervisor.check_prompts(protocol.CheckPrompts(1, ["a kitchen"])), {S.READY})

    @precondition(lambda self: self.running)
    @rule(kind=st.sampled_from(["", *KINDS]))
    def says_of_the_check(self, kind):
        self.world.worker.says(protocol.PromptsChecked(1, [], kind, kind))

    @precondition(lambda self: self.jobs)
    @rule()
    def cancel(self):
        self.attempt(lambda: self.supervisor.cancel(f"r{self.jobs}", "why"), {S.BUSY})

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 31.0, 700.0, 1900.0]), beating=st.booleans())
    def wait(self, seconds, beating):
        self.note(self.world.wait(seconds, beating=beating))

    @rule()
    def poll(self):
        self.note(self.world.poll())

    @rule()
    def sleep(self):
        self.world.now += 10_000.0
        self.note(self.world.poll())

    @precondition(lambda self: self.running)
    @rule(
        message=st.sampled_from(
            [
                protocol.Hello(1, "3.10.0"),
                protocol.Hello(1, "3.10.0", 99),
                protocol.LoadProgress("weights", None),
                protocol.Loaded({}),
                protocol.LoadFailed("error", "no", ""),
                protocol.Heartbeat(),
            ]
        )
    )
    def says(self, message):
        self.world.worker.says(message)

    @precondition(lambda self: self.running and self.jobs)
    @rule(
        late=st.booleans(),
        what=st.sampled_from(["progress", "generated", "blocked", "failed", "cancelled"]),
        data=st.data(),
    )
    def says_of_the_job(self, late, what, data):
        number = self.jobs - late
        ids = (number, f"r{number}")
        if what == "progress":
            message = protocol.Progress(*ids, "denoise", 0, 1, data.draw(st.integers(0, 3)), 3)
        elif what == "failed":
            message = protocol.Failed(*ids, data.draw(st.sampled_from(KINDS)), "", "")
        else:
            message = {
                "started": protocol.Started(*ids),
                "generated": protocol.Generated(*ids, {}),
                "blocked": protocol.Blocked(*ids, ""),
                "cancelled": protocol.Cancelled(*ids),
            }[what]
        self.world.worker.says(message)

    @precondition(lambda self: self.running)
    @rule(returncode=st.sampled_from([0, 1, -9, -15]))
    def exits(self, returncode):
        self.world.worker.exits(returncode)

    @precondition(lambda self: self.running)
    @rule()
    def hangs_up(self):
        self.world.worker.items.append(HungUp("It closed its line."))

    @precondition(lambda self: self.running)
    @rule(listens=st.booleans())
    def listens(self, listens):
        self.world.worker.listens = listens

    @invariant()
    def no_job_ends_twice(self):
        assert all(count <= 1 for count in self.ended.values()), self.ended

    @invariant()
    def only_the_job_under_way_has_no_end(self):
        open_ones = [run_id for run_id, count in self.ended.items() if not count]
        assert open_ones in ([], [f"r{self.jobs}"])

    @invariant()
    def one_worker_at_a_time(self):
        beside = [worker for worker in self.world.workers[:-1] if not worker.gone]
        # Only a stop leaves a worker that nothing kills, and says so.
        assert len(beside) <= self.world.log.names().count("worker-unkillable")

    @invariant()
    def something_is_awaited_unless_it_is_stopped(self):
        assert (self.supervisor.next_deadline() is None) == (self.supervisor.state is S.STOPPED)

    def teardown(self):
        """In the end, everything ends."""
        if self.supervisor.state not in (S.STOPPED, S.STOPPING):
            self.supervisor.stop("the end")
        self.note(self.world.wait(8.0, beating=False))
        assert self.supervisor.state is S.STOPPED
        assert all(count == 1 for count in self.ended.values()), self.ended
        self.world.log.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
