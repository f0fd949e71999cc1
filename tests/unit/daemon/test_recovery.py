"""What a start makes of the jobs that were under way when povwatch ended."""

from __future__ import annotations

import pytest
from support.looks import Looks

from povwatch.core.changes import Queued, Started

pytestmark = pytest.mark.usefixtures("forked_media_children")


def runs(here, look):
    """A look that a worker has."""
    job = here.jobs()[look]
    if str(job.state) == "grace":
        job = here.app.store.apply(job, Queued(ahead=0, spec_digest="d", spec_stat=None, spec_hash="s"))
    fields = {"run_id": f"r{job.id}", "attempt": 1, "limit": 3, "worker": 1, "on": ""}
    here.app.store.apply(job, Started(**fields, spec_json="{}", spec_hash="s", engine="preview"))


def test_crash_counts_against_one_job(tmp_path):
    """Of the looks that were under way, one is charged for each crash; at the seventh, one of three is given up."""
    here = Looks(tmp_path)
    here.write("night")
    here.write("rain")
    here.copy()
    charged = []
    for _ in range(7):
        for look, job in here.jobs().items():
            if not job.ended:
                runs(here, look)
        here.restart(away=100)
        charged.append([job.crashes for job in here.jobs().values()])
    assert charged[:6] == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2]]
    assert here.states() == {"": "failed", "night": "queued", "rain": "queued"}
    assert "went down 3 times while this job ran" in here.jobs()[""].error
    here.close()
