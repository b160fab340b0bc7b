"""What a look found, as figures."""

from __future__ import annotations

from penstock.flows.metrics import names
from penstock.flows.metrics.figures import Figures
from penstock.flows.metrics.look import Look, StoreLook


class StateFigures:
    """The figures of one home, look after look: searches add up, all else is as the last look found it."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._over_time = Figures({"home": home})

    @property
    def searches(self) -> tuple[list[int], float]:
        """The searches so far: how many below each bound, and their sum."""
        found = self._over_time.histograms.get(names.SEARCH_SECONDS, {})
        one = next(iter(found.values()), None)
        return (list(one.counts), one.sum) if one else ([], 0.0)

    def go_on(self, counts: list[int], total: float) -> None:
        """As if these searches had been seen as well."""
        if len(counts) != len(names.SEARCH_SECONDS.buckets) + 1:
            return
        self._over_time.observe(names.SEARCH_SECONDS, 0.0)
        (one,) = self._over_time.histograms[names.SEARCH_SECONDS].values()
        one.counts, one.sum = list(counts), total

    def after(self, look: Look) -> Figures:
        """Everything that this look found."""
        for seconds in look.searches:
            self._over_time.observe(names.SEARCH_SECONDS, seconds)
        figures = Figures({"home": self._home}, histograms=self._over_time.histograms)
        _of_index(figures, look)
        _of_copies(figures, look)
        _of_sources(figures, look)
        figures.set(names.WATCH_UP, look.up)
        figures.set(names.WATCH_PROBLEMS, len(look.problems))
        figures.set(names.WATCH_LATE, len(look.late))
        figures.set(names.WATCH_AT, look.at + look.seconds)
        figures.set(names.WATCH_SECONDS, look.seconds)
        return figures


def _of_index(figures: Figures, look: Look) -> None:
    figures.set(names.SPOOL_SHARDS, look.spool_shards)
    if look.version is None:
        return
    figures.set(names.VERSION, look.version)
    figures.set(names.CHUNKS, look.chunks or 0)
    if look.committed_at:
        figures.set(names.COMMITTED_AT, look.committed_at)
    figures.set(names.DOCUMENTS_VERSION, look.documents_version)
    for source, states in look.documents.items():
        for state, count in states.items():
            figures.set(names.DOCUMENTS, count, source=source, state=state)


def _of_copies(figures: Figures, look: Look) -> None:
    for name, one in look.replicas.items():
        figures.set(names.REPLICA_UP, one.up, replica=name)
        figures.set(names.REPLICA_VERSION, one.version, replica=name)
    if look.under_replicated is not None:
        figures.set(names.UNDER_REPLICATED, look.under_replicated)
    for place, store in look.stores.items():
        figures.set(names.SHIP_UP, store.up, store=place)
        for metric, value in (
            (names.SHIP_LAG_SECONDS, store.lag_seconds),
            (names.SHIP_LAG_VERSIONS, store.lag_versions),
            (names.SHIP_LAG_BYTES, store.lag_bytes),
        ):
            if value is not None:
                figures.set(metric, value, store=place)
    _of_recovery(figures, list(look.stores.values()))


def _of_recovery(figures: Figures, stores: list[StoreLook]) -> None:
    """The DR store that is worst off: one that has no snapshot at all leaves the age out, and is a problem."""
    snapshots = [one.snapshot_age for one in stores if one.snapshot_age is not None]
    drills = [one.drill_age for one in stores if one.drill_age is not None]
    if snapshots:
        figures.set(names.SNAPSHOT_AGE, max(snapshots))
    if drills:
        figures.set(names.DRILL_AGE, max(drills))
        figures.set(names.DRILL_PASSED, all(one.drill == "passed" for one in stores))


def _of_sources(figures: Figures, look: Look) -> None:
    for source, held in look.held.items():
        figures.set(names.SOURCE_HELD, bool(held), source=source)
    for source, fresh in look.freshness.items():
        if fresh.age is not None:
            figures.set(names.FRESHNESS, fresh.age, source=source)
        if fresh.objective is not None:
            figures.set(names.FRESHNESS_OBJECTIVE, fresh.objective, source=source)
    for source, budget in look.budgets.items():
        figures.set(names.SOURCE_BREAKER, budget.breaker_open, source=source)
        for which, used in budget.used.items():
            figures.set(names.SOURCE_BUDGET, used, source=source, budget=which)
