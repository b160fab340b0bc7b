"""Shards through the three stages, and an account of every document at the end.

`Lanes` decides when a stage runs, `Submit` where: on a thread, or as a Prefect task on one. Here is what the stages do,
and what is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from sys import intern

from penstock.embed.types import EncoderUnavailable
from penstock.flows.answers.progress import Observer
from penstock.flows.plans.adoption import Adopted
from penstock.flows.plans.plan import SourcePlan
from penstock.flows.runs.accounting import Accounting
from penstock.flows.runs.committing import Committer, Landed
from penstock.flows.runs.embedding import Embedded, Embedder
from penstock.flows.runs.events import CommitLanded, Listener, ShardEmbedded, ShardPrepared, nobody
from penstock.flows.runs.lanes import Handle as Handle
from penstock.flows.runs.lanes import Lanes, Passing
from penstock.flows.runs.lanes import Submit as Submit
from penstock.flows.runs.prepare import Preparer
from penstock.flows.spools.spool import Shard
from penstock.index.types import DocState

LEAST_SECONDS = 0.5
"""A device that embedded for less has no speed yet: what is measured is the start."""


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
        devices: int,
        model: str,
        accounting: Accounting,
        observer: Observer,
        clock: Callable[[], float],
        stopped: Callable[[], bool],
        abort: Callable[[], None],
        tell: Listener = nobody,
    ) -> None:
        self._tell = tell
        self._abort = abort
        self._plans, self._adopted = plans, list(adopted)
        self._preparer, self._embedder, self._committer = preparer, embedder, committer
        self._devices, self._model = devices, model
        self._accounting, self._observer = accounting, observer
        self._clock, self._stopped = clock, stopped
        self._contents = {uri: content for plan in plans for uri, content in plan.contents.items()}
        self._expected = sum(len(plan.todo) for plan in plans) + sum(len(a.wanted) for a in self._adopted)
        self.done = 0
        """How many of the planned documents came to an end; deletions are not counted."""
        self.landed: dict[str, DocState] = {}
        """Every document that this run committed: what the account and its proof ask of it, see `_remembered`."""
        self.settled: dict[str, DocState] = {}
        """Every document that another run brought in meanwhile, at the version that this one had of it."""
        self.unavailable: EncoderUnavailable | None = None
        """Why embedding ended before its time."""
        self._device_seconds = 0.0

    def run(self, submit: Submit) -> None:
        """Bring every planned document to an end, or leave it to the next run."""
        try:
            left_over = [Passing(each.shard, each.wanted) for each in self._adopted]
            Lanes(self, submit, devices=self._devices, left_over=left_over, stopped=self._stopped).run()
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

    def prepare(self) -> Shard | None:
        started = self._clock()
        with self._timed("prepare"):
            shard = self._preparer.next_shard()
        if shard is not None:
            said = shard.marker
            counts = (said.documents, said.chunks, said.tokens)
            self._tell(ShardPrepared(shard.directory.name, said.source, *counts, self._clock() - started))
        return shard

    def prepared(self, passing: Passing) -> None:
        if passing.wanted is not None:
            self._accounting.resumed += len(passing.wanted)

    def embed(self, passing: Passing) -> Embedded:
        done = self._embedder.embed(passing.shard)
        self._tell(
            ShardEmbedded(
                shard=passing.shard.directory.name,
                source=passing.shard.marker.source,
                device=done.device,
                complete=done.complete,
                tokens=done.tokens,
                padded=done.padded,
                reused_tokens=done.reused_tokens,
                seconds=done.seconds,
            )
        )
        return done

    def commit(self, passing: Passing, embedded: Embedded) -> Landed:
        with self._timed("commit"):
            provenance = {**embedded.provenance, "model": self._model} if embedded.provenance else {}
            return self._told(
                passing.shard.directory.name,
                passing.shard.marker.source,
                lambda: self._committer.commit(passing.shard, embedded.dim, provenance, passing.wanted),
            )

    def embedded(self, embedded: Embedded) -> None:
        account = self._accounting
        account.embedded_tokens += embedded.tokens
        account.padded += embedded.padded
        account.billed_tokens += embedded.billed
        account.reused_chunks += embedded.reused
        account.reused_tokens += embedded.reused_tokens
        account.taken_over_tokens += embedded.read_back_tokens
        if self._embedder.load_seconds:
            account.stage_seconds["load model"] = self._embedder.load_seconds
        if seconds := self._embedder.seconds:
            account.stage_seconds["embed"] = seconds
            account.tokens_per_second = rate(account.embedded_tokens, seconds)
        self._device_seconds += embedded.seconds
        if self._device_seconds > 0:  # a shard is for one device, however many there are
            self._preparer.tokens_per_second = account.embedded_tokens / self._device_seconds
        self._preparer.embedded_tokens += embedded.tokens + embedded.reused_tokens
        if embedded.unavailable is not None and self.unavailable is None:
            self.unavailable = embedded.unavailable
            self._abort()  # nothing more is fetched for a device that is not there

    def committed(self, landed: Landed) -> None:
        self._count(landed)
        self._observer.advanced(len(landed.states) + len(landed.settled), 0)
        if landed.states:
            self._observer.committed(landed.version)

    def _timed(self, stage: str) -> _Timed:
        return _Timed(self._accounting.stage_seconds, stage, self._clock)

    def _count(self, landed: Landed) -> None:
        account = self._accounting
        account.version = max(account.version, landed.version)
        for state in landed.states:
            self.landed[state.uri] = _remembered(state)
            self.done += state.status != "deleted"
            match state.status:
                case "indexed" if self._same(state):
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
        for state in landed.settled:
            self.settled[state.uri] = state
            self.done += 1
            if state.status == "rejected":
                account.rejected += 1
                count_reason(account, "rejected", state.reason)
            else:
                account.unchanged += 1

    def _deletions(self) -> None:
        for plan in self._plans:
            waiting = plan.put_off | {
                todo.item.version for todo in plan.todo if todo.prior is None and not self._arrived(todo.item.uri)
            }
            states = [_deleted(state, self._clock()) for state in plan.gone if state.version not in waiting]
            if states:
                self._count(self._told("", plan.source, partial(self._committer.commit_states, plan.source, states)))

    def _told(self, shard: str, source: str, commit: Callable[[], Landed]) -> Landed:
        started = self._clock()
        landed = commit()
        now = self._clock()
        if landed.states or landed.settled:
            same = sum(state.status == "indexed" and self._same(state) for state in landed.states)
            self._tell(_landed(shard, source, landed, started, now, same))
        return landed

    def _same(self, state: DocState) -> bool:
        """Whether the document came out as it is served already."""
        return self._contents.get(state.uri) == state.content

    def _arrived(self, uri: str) -> bool:
        """Whether a new document came to its end, so that nobody misses what it was called before."""
        state = self.landed.get(uri) or self.settled.get(uri)
        return state is not None and state.status != "failed"


def _remembered(state: DocState) -> DocState:
    """Only what is asked of it once it has landed: a run may have hundreds of thousands."""
    return DocState(
        uri=state.uri,
        source=intern(state.source),
        status=intern(state.status),
        content=state.content,
        chunks=state.chunks,
        next_try=state.next_try,
        run=intern(state.run),
    )


def rate(tokens: int, seconds: float) -> float:
    """Tokens a second; 0 where a device embedded for too short a time to tell."""
    return round(tokens / seconds, 1) if seconds >= LEAST_SECONDS else 0.0


def count_reason(account: Accounting, status: str, reason: str, count: int = 1) -> None:
    by_reason = account.reasons.setdefault(status, {})
    by_reason[reason] = by_reason.get(reason, 0) + count


def _landed(shard: str, source: str, landed: Landed, started: float, now: float, same: int) -> CommitLanded:
    fresh = [now - state.modified for state in landed.states if state.status == "indexed" and state.modified]
    settled = ("rejected" if state.status == "rejected" else "unchanged" for state in landed.settled)
    return CommitLanded(
        shard=shard,
        source=source,
        version=landed.version,
        documents=dict(Counter([*(state.status for state in landed.states), *settled])),
        unchanged=same,
        chunks=sum(state.chunks for state in landed.states if state.status == "indexed"),
        seconds=now - started,
        fresh=tuple(max(0.0, seconds) for seconds in fresh),
    )


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
