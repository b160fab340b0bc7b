"""Every metric, once: its name, its kind, its labels and what it says. docs/metrics.md and the dashboard go by this.

A label takes few values: names of sources, replicas, stores, devices, states and reasons. Never a document.
Times are seconds, moments seconds since 1970, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, MINUTE, 5 * MINUTE)
LONG = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY)
"""Upper bounds of histograms: a search, a commit, a document's way from its source."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A counter's name ends in `_total`; a histogram has `buckets`, its upper bounds, ascending."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


HOME = ("home",)
RUN = ("home", "priority", "sources")
"""`sources`: those that were asked for by name, `all`, or `paths`: a run of each kind keeps its own figures."""


def _gauge(name: str, labels: tuple[str, ...], help: str) -> Metric:
    return Metric(name, "gauge", labels, help)


def _counter(name: str, labels: tuple[str, ...], help: str) -> Metric:
    return Metric(name, "counter", labels, help)


# ── one run, the last of its kind: a file for node_exporter ──────────────────────────────────────────────

RUN_DOCUMENTS = _gauge(
    "penstock_run_documents", (*RUN, "source", "state"),
    "Documents of this run by where they stand in its account; deferred: not done, or not done yet",
)  # fmt: skip
RUN_RETRIES = _counter(
    "penstock_run_fetch_retries_total", (*RUN, "source", "reason"), "Requests to a source that were repeated, by reason"
)
RUN_TOKENS = _counter(
    "penstock_run_tokens_total", (*RUN, "kind"),
    "Tokens: embedded (padding excluded), padded (as computed, padding included), reused (their vectors were there)",
)  # fmt: skip
RUN_TOKENS_PER_SECOND = _gauge(
    "penstock_run_tokens_per_second", RUN, "Embedded tokens by the seconds in which a device embedded, all devices"
)
RUN_FILL = _gauge(
    "penstock_run_batch_fill_ratio", RUN, "Embedded tokens by tokens computed: 1 where nothing was padded"
)
RUN_QUEUE = _gauge(
    "penstock_run_queue_shards", (*RUN, "stage"), "Shards that wait for a stage or are in it: embed, commit"
)
RUN_STAGE_SECONDS = _counter(
    "penstock_run_stage_seconds_total", (*RUN, "stage"), "Seconds spent in a stage; stages run beside each other"
)
RUN_COMMIT_SECONDS = Metric(
    "penstock_run_commit_seconds", "histogram", RUN, "From a shard's vectors to its acknowledged version", SLOW
)
RUN_FRESH_SECONDS = Metric(
    "penstock_run_fresh_seconds", "histogram", (*RUN, "source"),
    "From a document's change at its source until it was searchable; of changes since the source was complete", LONG,
)  # fmt: skip
RUN_GAVE_WAY = _counter(
    "penstock_run_gave_way_seconds_total", RUN, "Seconds for which a device was given to something more urgent"
)
RUN_BUDGET = _gauge(
    "penstock_run_budget_used_ratio", (*RUN, "budget"), "Of what the run may spend: tokens, minutes; 1 is all of it"
)
RUN_STARTED = _gauge("penstock_run_started_timestamp_seconds", RUN, "When it began")
RUN_SEEN = _gauge("penstock_run_seen_timestamp_seconds", RUN, "When these figures were written")
RUN_ENDED_AT = _gauge("penstock_run_ended_timestamp_seconds", RUN, "When it ended; absent while it goes on")
RUN_ENDED = _gauge(
    "penstock_run_ended", (*RUN, "state"),
    "1 for how it ended: complete, incomplete, stopped, failed; all 0 while it goes on, or if it was killed",
)  # fmt: skip
RUN_VERSION = _gauge("penstock_run_version", RUN, "The newest version that it committed")
RUN_WAITS = _gauge("penstock_run_source_waits", (*RUN, "source"), "1 once nothing was asked of the source for a while")
GPU_USED = _gauge("penstock_gpu_memory_used_bytes", (*RUN, "device"), "Memory in use on the GPU, by whomever")
GPU_TOTAL = _gauge("penstock_gpu_memory_total_bytes", (*RUN, "device"), "Memory of the GPU")
GPU_BUSY = _gauge("penstock_gpu_utilization_ratio", (*RUN, "device"), "Share of the last second with work on the GPU")

# ── the index: from `penstock watch` and the watch flow ──────────────────────────────────────────────────

DOCUMENTS = _gauge("penstock_documents", (*HOME, "source", "state"), "Documents: indexed, failed, rejected")
DOCUMENTS_VERSION = _gauge(
    "penstock_documents_version", HOME,
    "The version that they were counted in; a large index is not counted anew for each one",
)  # fmt: skip
CHUNKS = _gauge("penstock_chunks", HOME, "Passages that are served")
VERSION = _gauge("penstock_version", HOME, "The newest version that readers see")
COMMITTED_AT = _gauge("penstock_committed_timestamp_seconds", HOME, "When it was committed")
SPOOL_SHARDS = _gauge("penstock_spool_shards", HOME, "Prepared work that waits in the spool")
SOURCE_HELD = _gauge("penstock_source_held", (*HOME, "source"), "1 where no run changes the source")
REPLICA_UP = _gauge(
    "penstock_replica_up", (*HOME, "replica"), "1 where it answered in time and a writer would take it, else 0"
)
REPLICA_VERSION = _gauge(
    "penstock_replica_version", (*HOME, "replica"), "The newest version there; of one that is away, as last known"
)
UNDER_REPLICATED = _gauge(
    "penstock_under_replicated_bytes",
    HOME,
    "What replicas lack of the newest version, all together; absent while one cannot be asked",
)
SHIP_UP = _gauge("penstock_ship_up", (*HOME, "store"), "1 where the DR store answered in time, and may be shipped to")
SHIP_LAG_SECONDS = _gauge(
    "penstock_ship_lag_seconds", (*HOME, "store"), "How long ago the oldest version was committed that is not there"
)
SHIP_LAG_VERSIONS = _gauge("penstock_ship_lag_versions", (*HOME, "store"), "Versions that the DR store lacks")
SHIP_LAG_BYTES = _gauge("penstock_ship_lag_bytes", (*HOME, "store"), "Bytes that the DR store lacks")
SNAPSHOT_AGE = _gauge(
    "penstock_snapshot_age_seconds", HOME, "Since the newest snapshot was taken; of the DR store where that is oldest"
)
DRILL_AGE = _gauge(
    "penstock_drill_age_seconds", HOME, "Since the last drill; of the DR store where that is longest ago"
)
DRILL_PASSED = _gauge("penstock_drill_passed", HOME, "1 where the last drill of each DR store passed")
FRESHNESS = _gauge(
    "penstock_freshness_seconds", (*HOME, "source"), "How old the state of the source is that is searchable for certain"
)
FRESHNESS_OBJECTIVE = _gauge("penstock_freshness_objective_seconds", (*HOME, "source"), "How old it may be")
SOURCE_BUDGET = _gauge(
    "penstock_source_budget_used_ratio", (*HOME, "source", "budget"),
    "Of what the source allows: per_day (requests since midnight UTC), concurrency (requests under way)",
)  # fmt: skip
SOURCE_BREAKER = _gauge(
    "penstock_source_breaker_open", (*HOME, "source"), "1 where it only failed, and is left alone but for probes"
)
SEARCH_SECONDS = Metric(
    "penstock_search_seconds", "histogram", HOME,
    "A search for the ten best passages, asked with vectors of the index", QUICK,
)  # fmt: skip
WATCH_UP = _gauge("penstock_watch_up", HOME, "1 where the last look could read the index, else 0")
WATCH_PROBLEMS = _gauge("penstock_watch_problems", HOME, "What the last look found that somebody has to see to")
WATCH_LATE = _gauge(
    "penstock_watch_late", HOME, "What did not answer in time at the last look: replicas, stores, the catalog"
)
WATCH_AT = _gauge("penstock_watch_timestamp_seconds", HOME, "When the last look ended")
WATCH_SECONDS = _gauge("penstock_watch_look_seconds", HOME, "How long it took")

METRICS: dict[str, Metric] = {each.name: each for each in list(globals().values()) if isinstance(each, Metric)}
RUN_METRICS = tuple(each for each in METRICS.values() if each.labels[: len(RUN)] == RUN)
STATE_METRICS = tuple(each for each in METRICS.values() if each not in RUN_METRICS)


def table(metrics: Iterable[Metric]) -> str:
    """As docs/metrics.md shows them: Markdown, the labels that all have left out."""
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for each in metrics:
        own = ", ".join(f"`{label}`" for label in each.labels if label not in RUN)
        rows.append(f"| `{each.name}` | {each.kind} | {own} | {each.help} |")
    return "\n".join(rows)
