"""Every metric: its name, its unit and what it counts. docs/monitoring.md lists them.

Counters and histograms begin at zero when the daemon starts, as Prometheus expects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from povwatch.core.job import JobState, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DURATIONS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
"""The upper ends of a duration's classes, in seconds: from a probe to a night in the queue."""

SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1, 2, 5, 10, 20, 50)
"""The upper ends of a score's classes. Most scores are shares from 0 to 1; some have a unit and may be larger."""

ENDS = tuple(str(state) for state in JobState if state.ended)
RETRIES = ("charged", "uncharged", "crashed", "seed", "finish")
LOSSES = ("died", "stalled", "gpu-lost", "remote-died", "load-failed")
"""The kinds of losses that are there from the start; rarer ones come with the first of them."""


class Figures:
    """The metrics of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the daemon's own start is one metric
        self.registry = here = CollectorRegistry()
        self.info = Gauge("povwatch_info", "Which povwatch this is; always 1.", ["version", "engine"], registry=here)
        self.started = Gauge("povwatch_start_time_seconds", "When the daemon started, since the epoch.", registry=here)
        self.updated = Gauge(
            "povwatch_updated_time_seconds",
            "When these figures were made, since the epoch. Old ones are of a daemon that ended.",
            registry=here,
        )
        self.jobs = Gauge("povwatch_jobs", "Jobs in the journal, by state.", ["state"], registry=here)
        self.waiting = Gauge(
            "povwatch_jobs_waiting", "Jobs that have not ended, by what they wait on.", ["reason"], registry=here
        )
        self.blocked = Gauge(
            "povwatch_blocked",
            "1 for the reason why no clip starts, else 0.",
            ["reason"],
            registry=here,
        )
        self.workers = Gauge("povwatch_workers", "Workers, by what they do.", ["state"], registry=here)
        self.node_workers = Gauge(
            "povwatch_node_workers", "Workers on other machines, by the name of their node.", ["node"], registry=here
        )
        self.node_deaths = Counter(
            "povwatch_node_deaths",
            "Workers that died or could not load on other machines, by the name of their node.",
            ["node"],
            registry=here,
        )
        self.disk_free = Gauge(
            "povwatch_disk_free_bytes", "Free space on the disk of a folder.", ["folder"], registry=here
        )
        self.disk_reserve = Gauge(
            "povwatch_disk_reserve_bytes", "disk.reserve: with less free space no clip starts.", registry=here
        )
        self.ended = Counter("povwatch_jobs_ended", "Jobs that ended, by state.", ["state"], registry=here)
        self.published = Gauge(
            "povwatch_last_published_time_seconds",
            "When the last result was published, since the epoch; 0 before the first since the start.",
            registry=here,
        )
        self.retries = Counter(
            "povwatch_retries",
            "Attempts that went back to the queue (charged, uncharged, crashed, seed), or to finishing (finish).",
            ["kind"],
            registry=here,
        )
        self.losses = Counter(
            "povwatch_worker_deaths", "Workers that were lost or could not load, by kind.", ["kind"], registry=here
        )
        self.gpu_seconds = Counter(
            "povwatch_gpu_seconds", "Seconds for which GPUs generated, failed attempts included.", registry=here
        )
        self.gpu_energy = Counter("povwatch_gpu_energy_joules", "Energy of GPUs that generated.", registry=here)
        self.stages = Histogram(
            "povwatch_stage_duration_seconds",
            "How long jobs were in a state, by the state that they left.",
            ["stage"],
            buckets=DURATIONS,
            registry=here,
        )
        self.steps = Histogram(
            "povwatch_step_duration_seconds",
            "How long the steps of successful attempts took.",
            ["step"],
            buckets=DURATIONS,
            registry=here,
        )
        self.scores = Histogram(
            "povwatch_score", "Scores of results (docs/scores.md).", ["score"], buckets=SCORES, registry=here
        )
        self._begin()

    def _begin(self) -> None:
        """Show every label that is known beforehand, so that a rate sees the first event too."""
        for counter, labels in ((self.ended, ENDS), (self.retries, RETRIES), (self.losses, LOSSES)):
            for label in labels:
                counter.labels(label)
        set_all(self.jobs, JobState, {})
        set_all(self.waiting, Waiting, {})
        set_all(self.blocked, Waiting, {})


def set_all(gauge: Gauge, labels: Iterable[str], found: Mapping[str, float]) -> None:
    """Set a gauge for each of its labels: to what was found, or to 0."""
    for label in labels:
        gauge.labels(str(label)).set(found.get(label, 0))
