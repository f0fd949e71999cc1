"""Chooses and claims the next job for a ready worker. Until the claim the JSON may still be edited."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from povwatch.core import retry
from povwatch.core.changes import NotBefore, Started
from povwatch.core.errors import EnvironmentFault, PovwatchError
from povwatch.core.layout import output
from povwatch.core.machine_faults import until
from povwatch.run.preparing import frozen

if TYPE_CHECKING:
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.files.free_space import FreeSpace
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.queue.order import Turns
    from povwatch.run.preparing import Preparing
    from povwatch.spec import Spec
    from povwatch.spec.current import CurrentSpecs
    from povwatch.workers.places import Place, Run


class Claims:
    """Takes jobs out of the queue."""

    def __init__(
        self,
        config: Config,
        *,
        kind: str,
        store: JobStore,
        specs: CurrentSpecs,
        publisher: Publisher,
        preparing: Preparing,
        turns: Turns,
        failed_attempts: FailedAttempts,
        free_space: FreeSpace,
    ) -> None:
        self._config = config
        self._kind = kind
        self._store = store
        self._specs = specs
        self._publisher = publisher
        self._preparing = preparing
        self._turns = turns
        self._failed_attempts = failed_attempts
        self._free_space = free_space
        self._put_offs: Counter[int] = Counter()
        """How often in a row each job was put off because of its own folder in outputs/."""

    def next(self, place: Place) -> Run | None:
        """Claim the next job for a worker; None if no job may start. The job's copies may exist already."""
        for queued in self._turns.due():
            try:
                on, run = self._next(queued, place)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.of(("claim", queued.id), error)
            else:
                if not on:
                    return run
        return None

    def _next(self, queued: Job, place: Place) -> tuple[bool, Run | None]:
        """Try to claim one job. Returns whether to try the next one, and the run."""
        spec = self._specs.spec_of(queued)
        if spec is None:  # it was edited, held or withdrawn this very moment
            return True, None
        job = self._store.job(queued.id)
        if self._free_space.lacking() is not None or not self._outputs_take_files():
            return False, None
        try:
            self._publisher.preflight(output(self._config.publish.layout, job.path, job.base, "aug"))
        except EnvironmentFault as error:  # only this job's folder in outputs/; other jobs go on
            self._put_off(job, error)
            return True, None
        except PovwatchError as error:
            self._failed_attempts.fail(job, error)
            return True, None
        return False, self._claim(job, spec, place)

    def _outputs_take_files(self) -> bool:
        """Whether a run could write in outputs/ now. If not, nothing is claimed and the queue waits."""
        try:
            self._publisher.staging.probe()
        except EnvironmentFault as error:
            self._failed_attempts.hold_queue(error)
            return False
        except PovwatchError:  # a link has its place: the job that meets it reports it
            return True
        return True

    def _put_off(self, job: Job, error: EnvironmentFault) -> None:
        wall = self._store.clock.wall()
        job = self._store.wait(job, retry.waiting_for(error), str(error))
        self._put_offs[job.id] += 1
        again = until(error)
        pause = again.pause(self._put_offs[job.id]) if again else retry.ENVIRONMENT_PAUSE
        self._store.apply(job, NotBefore(at=wall + pause))

    def _claim(self, job: Job, spec: Spec, place: Place) -> Run | None:
        run = self._preparing.take(job, spec)
        run_id = run.run_id if run else uuid.uuid4().hex
        started = Started(
            run_id=run_id,
            attempt=job.attempts + 1,
            attempts=self._config.engine.attempts,
            worker=place.number,
            on=", ".join(place.gpus),
            spec_json=json.dumps(frozen(spec)),
            spec_hash=spec.digest(),
            engine=self._kind,
        )
        job = self._store.apply(job, started)
        if self._store.job(job.id).run_id != run_id:  # a stage's `enter` failed and ended the attempt
            return None
        self._put_offs.pop(job.id, None)
        try:
            return run or self._preparing.begin(job, run_id, spec)
        except PovwatchError as error:
            self._failed_attempts.after(job, error)
            return None
