"""What happens in one run, counted. Pure: told of events, it has the figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from penstock.flows.metrics import names
from penstock.flows.metrics.figures import Figures
from penstock.flows.metrics.gpu import Gpu
from penstock.flows.runs import events
from penstock.flows.runs.accounting import STATES, Accounting

ENDS = ("complete", "incomplete", "stopped", "failed")
MORE = ("deleted", "withheld")


class RunFigures:
    """The figures of the run that `started`. Not thread-safe.

    `sources`: the label of that name. `as_of`: source → each change before it was searchable when the run began: of an
    older document, and of a source that was never complete, nobody knows how long its change took.

    What became of each document is said of each source in the terms of the account: the states of `accounting.STATES`
    add up to what was listed there, all the time.
    """

    def __init__(self, started: events.RunStarted, sources: str, as_of: Mapping[str, float] | None = None) -> None:
        self._started, self._as_of = started, as_of or {}
        self._figures = Figures({"home": started.home, "priority": started.priority, "sources": sources})
        self._listed: Counter[str] = Counter()
        self._states: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._prepared: dict[str, None] = {}
        self._embedded: dict[str, None] = {}
        self._devices: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._spent_tokens = self._tokens = self._computed = 0
        self._figures.set(names.RUN_STARTED, started.at)
        for state in ENDS:
            self._figures.set(names.RUN_ENDED, 0, state=state)

    def told(self, event: events.Event, now: float) -> None:
        """Count what happened at `now`."""
        figures = self._figures
        match event:
            case events.Listed():
                self._listed[event.source] += event.listed
                self._states[event.source].update({**event.states, "withheld": event.withheld})
            case events.ShardPrepared():
                self._prepared[event.shard] = None
                self._spent_tokens += event.tokens
                figures.add(names.RUN_STAGE_SECONDS, event.seconds, stage="prepare")
            case events.ShardEmbedded():
                self._on_shard(event)
            case events.CommitLanded():
                self._on_commit(event, now)
            case events.GaveWay():
                figures.add(names.RUN_GAVE_WAY, event.seconds)
            case events.SourceWaits():
                figures.set(names.RUN_WAITS, 1, source=event.source)
            case events.RequestsRepeated():
                for reason, count in event.reasons.items():
                    figures.raise_to(names.RUN_RETRIES, count, source=event.source, reason=reason)
            case events.Accounted():
                self._on_account(event.account)
            case events.RunEnded():
                figures.set(names.RUN_ENDED, 1, state=event.state)
                figures.set(names.RUN_ENDED_AT, now)
                self._prepared.clear()
                self._embedded.clear()
            case _:
                pass

    def at(self, now: float, gpus: Iterable[Gpu]) -> Figures:
        """Everything as it is at `now`. Valid until the next call of anything."""
        figures = self._figures
        figures.set(names.RUN_SEEN, now)
        self._account(figures)
        figures.set(names.RUN_QUEUE, len(self._prepared), stage="embed")
        figures.set(names.RUN_QUEUE, len(self._embedded), stage="commit")
        if self._started.budget_tokens:
            figures.set(names.RUN_BUDGET, self._spent_tokens / self._started.budget_tokens, budget="tokens")
        ended = figures.values.get(names.RUN_ENDED_AT)
        if self._started.budget_minutes and not ended:
            spent = max(0.0, now - self._started.at) / 60
            figures.set(names.RUN_BUDGET, spent / self._started.budget_minutes, budget="minutes")
        figures.clear(names.GPU_USED, names.GPU_TOTAL, names.GPU_BUSY)
        for gpu in () if ended else gpus:  # after the run it would be a value that nobody brings up to date
            figures.set(names.GPU_USED, gpu.used_bytes, device=gpu.device)
            figures.set(names.GPU_TOTAL, gpu.total_bytes, device=gpu.device)
            if gpu.busy is not None:
                figures.set(names.GPU_BUSY, gpu.busy, device=gpu.device)
        return figures

    def _account(self, figures: Figures) -> None:
        for source, listed in self._listed.items():
            states = self._states[source]
            settled = sum(states[state] for state in STATES if state != "deferred")
            for state in (*STATES, *MORE):
                count = max(0, listed - settled) if state == "deferred" else states[state]
                figures.set(names.RUN_DOCUMENTS, count, source=source, state=state)

    def _on_shard(self, event: events.ShardEmbedded) -> None:
        figures = self._figures
        self._prepared.pop(event.shard, None)
        if event.complete:
            self._embedded[event.shard] = None
        self._tokens += event.tokens
        self._computed += event.padded
        for kind, count in (("embedded", event.tokens), ("padded", event.padded), ("reused", event.reused_tokens)):
            figures.add(names.RUN_TOKENS, count, kind=kind)
        figures.add(names.RUN_STAGE_SECONDS, event.seconds, stage="embed")
        if self._computed:
            figures.set(names.RUN_FILL, self._tokens / self._computed)
        if event.seconds > 0:
            spent = self._devices[event.device]
            spent[0] += event.tokens
            spent[1] += event.seconds
            figures.set(names.RUN_TOKENS_PER_SECOND, sum(tokens / secs for tokens, secs in self._devices.values()))

    def _on_commit(self, event: events.CommitLanded, now: float) -> None:
        figures = self._figures
        states = self._states[event.source]
        states.update({**event.documents, "indexed": event.documents.get("indexed", 0) - event.unchanged})
        states["unchanged"] += event.unchanged
        if event.shard:
            figures.observe(names.RUN_COMMIT_SECONDS, event.seconds)
        # One is committed at a time, in their order: what was embedded before this one had nothing left to commit.
        if event.shard in self._embedded:
            while next(iter(self._embedded)) != event.shard:
                del self._embedded[next(iter(self._embedded))]
            del self._embedded[event.shard]
        figures.add(names.RUN_STAGE_SECONDS, event.seconds, stage="commit")
        figures.raise_to(names.RUN_VERSION, event.version)
        known = self._as_of.get(event.source, 0.0)
        for seconds in event.fresh if known else ():
            if now - seconds >= known:
                figures.observe(names.RUN_FRESH_SECONDS, seconds, source=event.source)

    def _on_account(self, account: Accounting) -> None:
        figures = self._figures
        for source, part in account.sources.items():
            self._listed[source] = part.listed
            self._states[source] = Counter({state: getattr(part, state) for state in (*STATES, *MORE)})
        for stage, seconds in account.stage_seconds.items():
            figures.raise_to(names.RUN_STAGE_SECONDS, seconds, stage=stage)
        if account.tokens_per_second:
            figures.set(names.RUN_TOKENS_PER_SECOND, account.tokens_per_second)
        for source, reasons in account.retries.items():
            for reason, count in reasons.items():
                figures.raise_to(names.RUN_RETRIES, count, source=source, reason=reason)
