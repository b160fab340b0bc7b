"""Shards through the three stages, and an account of every document at the end.

    prepare ──spool──▶ embed ──spool──▶ commit        one shard in each stage at a time

The stages run beside each other, at most one prepared shard waiting, so memory and spool stay bounded
however large the source. `Submit` decides where a stage runs: on a thread, or as a Prefect task on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from penstock.embed.types import Encoder
from penstock.flows.answers.progress import Observer
from penstock.flows.plans.adoption import Adopted
from penstock.flows.plans.plan import SourcePlan
from penstock.flows.runs.accounting import Accounting
from penstock.flows.runs.committing import Committer, Landed
from penstock.flows.runs.embedding import Embedded, Embedder
from penstock.flows.runs.prepare import Preparer
from penstock.flows.spools.spool import Shard
from penstock.index.types import DocState


class Handle(Protocol):
    """The outcome of a stage, later."""

    def result(self) -> Any: ...


class Submit(Protocol):
    """Starts a stage somewhere. `name` is `prepare`, `embed` or `commit`; `number` counts shards from 1."""

    def __call__(self, name: str, number: int, stage: Callable[[], Any]) -> Handle: ...


class Pipeline:
    """One run over planned sources. `run` may be called once."""

    def __init__(
        self,
        *,
        plans: list[SourcePlan],
        adopted: Iterable[Adopted],
        preparer: Preparer,
        embedder: Embedder,
        committer: Committer,
        encoder: Callable[[], Encoder],
        loaded: Callable[[], bool],
        model: str,
        accounting: Accounting,
        observer: Observer,
        clock: Callable[[], float],
        stopped: Callable[[], bool],
        abort: Callable[[], None],
    ) -> None:
        self._abort = abort
        self._plans, self._adopted = plans, list(adopted)
        self._preparer, self._embedder, self._committer = preparer, embedder, committer
        self._encoder, self._loaded, self._model = encoder, loaded, model
        self._accounting, self._observer = accounting, observer
        self._clock, self._stopped = clock, stopped
        self._contents = {uri: content for plan in plans for uri, content in plan.contents.items()}
        self._expected = sum(len(plan.todo) for plan in plans) + sum(len(a.wanted) for a in self._adopted)
        self.done = 0
        """How many of the planned documents came to an end; deletions are not counted."""
        self.landed: dict[str, DocState] = {}
        """Every document that this run committed, as it was committed."""

    def run(self, submit: Submit) -> None:
        """Bring every planned document to an end, or leave it to the next run."""
        try:
            self._shards(submit)
        except BaseException:
            self._abort()  # whoever still prepares ahead ends at the next document
            raise
        finally:
            self._preparer.close()
        # A renamed document is a new one and a gone one: while the new one waits, the old one stays.
        if not self._stopped() or self.done >= self._expected:
            self._deletions()

    def release(self) -> None:
        """Let go of every shard that was not committed: another run may take it over."""
        for shard in (*(adopted.shard for adopted in self._adopted), *self._preparer.made):
            shard.release()

    def _shards(self, submit: Submit) -> None:
        committing: Handle | None = None
        try:
            for number, (shard, wanted) in enumerate(self._sequence(submit), start=1):
                embedded: Embedded = submit("embed", number, partial(self._embed, shard)).result()
                self._embedded(embedded)
                if not embedded.complete:
                    break
                if committing is not None:
                    self._commit_done(committing.result())
                committing = submit("commit", number, partial(self._commit, shard, wanted))
        finally:
            # Whatever went wrong or was stopped: the commit in hand is finished and counted.
            if committing is not None:
                self._commit_done(committing.result())

    def _sequence(self, submit: Submit) -> Iterator[tuple[Shard, frozenset[str] | None]]:
        """Shards that were left behind first, then new ones, the next being prepared while one is embedded."""
        number = 1
        ahead = submit("prepare", number, self._prepare)
        for adopted in self._adopted:
            self._accounting.resumed += len(adopted.wanted)
            yield adopted.shard, adopted.wanted
        while (shard := ahead.result()) is not None:
            number += 1
            ahead = submit("prepare", number, self._prepare)
            yield shard, None

    def _prepare(self) -> Shard | None:
        with self._timed("prepare"):
            return self._preparer.next_shard()

    def _embed(self, shard: Shard) -> Embedded:
        if shard.marker.chunks:
            with self._timed("load model"):
                if not self._loaded():
                    return Embedded(complete=False)
        return self._embedder.embed(shard)

    def _commit(self, shard: Shard, wanted: frozenset[str] | None) -> Landed:
        with self._timed("commit"):
            if shard.marker.chunks == 0:
                return self._committer.commit(shard, 0, {}, wanted)
            encoder = self._encoder()
            provenance = {**encoder.provenance, "model": self._model}
            return self._committer.commit(shard, encoder.dim, provenance, wanted)

    def _timed(self, stage: str) -> _Timed:
        return _Timed(self._accounting.stage_seconds, stage, self._clock)

    def _embedded(self, embedded: Embedded) -> None:
        account = self._accounting
        account.embedded_tokens += embedded.tokens
        account.padded += embedded.padded
        account.reused_tokens += embedded.reused_tokens
        seconds = account.stage_seconds["embed"] = account.stage_seconds.get("embed", 0.0) + embedded.seconds
        if seconds > 0:
            account.tokens_per_second = round(account.embedded_tokens / seconds, 1)
            self._preparer.tokens_per_second = account.tokens_per_second
        self._preparer.embedded_tokens += embedded.tokens + embedded.reused_tokens

    def _commit_done(self, landed: Landed) -> None:
        self._count(landed)
        self._observer.advanced(len(landed.states), 0)
        if landed.states:
            self._observer.committed(landed.version)

    def _count(self, landed: Landed) -> None:
        account = self._accounting
        account.version = max(account.version, landed.version)
        for state in landed.states:
            self.landed[state.uri] = state
            self.done += state.status != "deleted"
            match state.status:
                case "indexed" if self._contents.get(state.uri) == state.content:
                    account.unchanged += 1
                case "indexed":
                    account.indexed += 1
                    account.chunks += state.chunks
                    account.tokens += state.tokens
                case "rejected":
                    account.rejected += 1
                    count_reason(account, "rejected", state.reason)
                case "failed":
                    account.failed += 1
                    count_reason(account, "failed", state.reason)
                case "deleted":
                    account.deleted += 1

    def _deletions(self) -> None:
        for plan in self._plans:
            waiting = plan.put_off | {
                todo.item.version for todo in plan.todo if todo.prior is None and not self._arrived(todo.item.uri)
            }
            states = [_deleted(state, self._clock()) for state in plan.gone if state.version not in waiting]
            if states:
                self._count(self._committer.commit_states(plan.source, states))

    def _arrived(self, uri: str) -> bool:
        """Whether a new document came to its end, so that nobody misses what it was called before."""
        state = self.landed.get(uri)
        return state is not None and state.status != "failed"


def count_reason(account: Accounting, status: str, reason: str, count: int = 1) -> None:
    by_reason = account.reasons.setdefault(status, {})
    by_reason[reason] = by_reason.get(reason, 0) + count


def _deleted(state: DocState, now: float) -> DocState:
    return DocState(uri=state.uri, source=state.source, status="deleted", changed_at=now)


class _Timed:
    """Adds the seconds of a block to one stage."""

    def __init__(self, seconds: dict[str, float], stage: str, clock: Callable[[], float]) -> None:
        self._seconds, self._stage, self._clock = seconds, stage, clock

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(self, *_: object) -> None:
        spent = self._clock() - self._started
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + spent
