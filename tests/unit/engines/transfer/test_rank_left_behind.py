"""A rank that fails alone in a step leaves the others waiting for it. This spoils the group for all later tests."""

import pytest
from support import tiny_needs
from support.deferred import Deferred
from support.forked_ranks import two_ranks

tiny_needs.skip_without()

from support import tiny_jobs

from povwatch.engines import ranks
from povwatch.engines.port import EngineFailure

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

torch = Deferred("torch")
own_step = Deferred("povwatch.engines.transfer.step")


@pytest.mark.parametrize(
    ("error", "kind"), [("OutOfMemoryError", "out-of-memory"), ("RuntimeError", "sticky")], ids=["memory", "other"]
)
def test_worker_has_to_be_replaced(tiny, tmp_path, monkeypatch, error, kind) -> None:
    """Its own reason is told, and is one for which the worker is replaced."""
    monkeypatch.setattr(ranks, "ALIKE", 0.2)
    job = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 5), 5)

    def fails(*_):
        raise {"OutOfMemoryError": torch.OutOfMemoryError, "RuntimeError": RuntimeError}[error]("it is too much")

    with two_ranks(tiny, tmp_path) as (engine, _):
        monkeypatch.setattr(own_step.Step, "velocities", fails)
        with pytest.raises(EngineFailure, match="Rank 1 of 2 did not end the job with the others: it is") as failure:
            engine.generate(job, tiny_jobs.context(tmp_path))
    assert failure.value.kind == kind
