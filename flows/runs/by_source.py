"""The account of a run by source, from what the run tells: the same six places for every document, the same sums."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from penstock.flows.runs.accounting import STATES, SourceAccount
from penstock.flows.runs.events import CommitLanded, Event, Listed, SourceWaits


class BySource:
    """A listener. What a listing found and nothing settled, in the listing or by a commit, is deferred."""

    def __init__(self) -> None:
        self._listed: dict[str, Listed] = {}
        self._states: dict[str, Counter[str]] = {}
        self._waited: Counter[str] = Counter()
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            match event:
                case Listed():
                    self._listed[event.source] = event
                    self._states.setdefault(event.source, Counter()).update(event.states)
                case CommitLanded():
                    states = self._states.setdefault(event.source, Counter())
                    states.update(event.documents)
                    states["indexed"] -= event.unchanged
                    states["unchanged"] += event.unchanged
                case SourceWaits():
                    self._waited[event.source] += 1

    def accounts(self) -> dict[str, SourceAccount]:
        """Source → its account, in the order in which they were listed."""
        with self._lock:
            return {name: self._one(name, listed) for name, listed in self._listed.items()}

    def _one(self, name: str, listed: Listed) -> SourceAccount:
        states = self._states[name]
        settled = {state: states[state] for state in STATES if state != "deferred"}
        return SourceAccount(
            listed=listed.listed,
            **settled,
            deferred=listed.listed - sum(settled.values()),
            deleted=states["deleted"],
            withheld=listed.withheld,
            gaps=listed.gaps,
            waits=self._waited[name],
            problem=listed.problem,
        )
