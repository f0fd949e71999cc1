"""Claims queued jobs for ready workers: a claim freezes the job's JSON and charges an attempt."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from povwatch.core import changes, retry
from povwatch.core.errors import EnvironmentFault, PovwatchError
from povwatch.core.layout import output
from povwatch.core.looks import kind_of
from povwatch.core.machine_faults import retry_times
from povwatch.core.quality import Tries, seed_of
from povwatch.run.preparing import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.files.free_space import FreeSpace
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.run.preparing import Preparing
    from povwatch.spec.current import CurrentSpecs
    from povwatch.spec.model import Spec
    from povwatch.workers.pool import ActiveAttempt, Worker


class Claims:
    """Claims jobs."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        specs: CurrentSpecs,
        publisher: Publisher,
        free_space: FreeSpace,
        failed_attempts: FailedAttempts,
        preparing: Preparing,
        engine_kind: str,
    ) -> None:
        self._config = config
        self._store = store
        self._specs = specs
        self._publisher = publisher
        self._free_space = free_space
        self._failed_attempts = failed_attempts
        self._preparing = preparing
        self._engine_kind = engine_kind
        self._put_offs: Counter[int] = Counter()
        """How often in a row each job was put off because of its own folder in outputs/."""

    def claim_first(self, due: Iterable[Job], worker: Worker) -> None:
        """Claim the first of these jobs that can be claimed for a worker. The job's copies may exist already."""
        for queued in due:
            try:
                if self._try_claim(queued, worker):
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.charge(queued.id, "claimed", error)

    def _try_claim(self, queued: Job, worker: Worker) -> bool:
        """Try to claim a job. Returns False if only this job cannot be claimed, so that the next one is tried."""
        spec = self._specs.spec_of(queued)
        if spec is None:  # it was edited, held or withdrawn this very moment
            return False
        job = self._store.job(queued.id)
        if self._free_space.lacking() is not None or not self._outputs_take_files():
            return True
        try:
            self._publisher.preflight(output(self._config.publish.layout, job.path, job.base, kind_of("aug", job.look)))
        except EnvironmentFault as error:  # only this job's folder in outputs/; other jobs go on
            self._put_off(job, error)
            return False
        except PovwatchError as error:
            self._failed_attempts.fail(job, error)
            return False
        worker.active = self._claim(job, spec, worker)
        return True

    def _outputs_take_files(self) -> bool:
        """Whether an attempt could write in outputs/ now. If not, nothing is claimed and the queue waits."""
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
        again = retry_times(error)
        pause = again.pause(self._put_offs[job.id]) if again else retry.ENVIRONMENT_PAUSE
        self._store.apply(job, changes.NotBefore(at=wall + pause))

    def _claim(self, job: Job, spec: Spec, worker: Worker) -> ActiveAttempt | None:
        tries = Tries.from_json(job.tries).of(spec.digest(), job.source_hash)
        asked, spec = spec, spec.model_copy(update={"seed": seed_of(spec.seed, len(tries.over))})
        active = self._preparing.take(job, spec)
        run_id = active.run_id if active else uuid.uuid4().hex
        checked = self._specs.prompt_filters(job)
        started = changes.Started(
            run_id=run_id,
            attempt=job.attempts + 1,
            limit=self._config.engine.attempts,
            worker=worker.number,
            on=worker.place.name if worker.place else ", ".join(worker.gpus),
            where=f" ({worker.label})" if worker.place else "",
            spec_json=json.dumps(frozen(spec)),
            spec_hash=asked.digest(),
            engine=self._engine_kind,
            tries=tries.to_json() if tries.over else None,
        )
        job = self._store.apply(job, started)
        if self._store.job(job.id).run_id != run_id:  # the grace stage's `leave` failed, and that ended the attempt
            return None
        self._put_offs.pop(job.id, None)
        try:
            active = active or self._preparing.begin(job, run_id, spec)
        except PovwatchError as error:
            self._failed_attempts.end(job, error)
            return None
        active.attempt.prompt_filters = checked
        return active
