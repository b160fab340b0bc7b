"""Compaction: many small segments become few large ones, without their dead rows; many text runs become few.

Each merge is a commit of its own that changes no document. A deletion that lands meanwhile is carried over; another
compaction of the same segments wins or loses as a whole. What is no longer named goes when `collect` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import msgspec
import pyroaring

from penstock.index.commits import effects, state
from penstock.index.commits.attempt import Attempt, Files
from penstock.index.commits.commit import Writer
from penstock.index.commits.manifest import blobs_of
from penstock.index.commits.state import StateView, TextView
from penstock.index.segments import merge, quantizer
from penstock.index.segments.segment import Segment, read_dead
from penstock.index.types import DocText, Manifest, RunRef, SegmentRef, SpaceRef

Progress = Callable[[str, int, int], None]


class Policy(msgspec.Struct, frozen=True):
    """Segments of about the same size are merged once there are `fan_in` of them: each vector is rewritten
    log(n) times. Segments of up to `smallest` live rows count as one size; a merge makes no more than `largest`.
    A segment with more than `dead_share` dead rows is rewritten by itself, and so is a large flat one.
    """

    fan_in: int = 8
    smallest: int = 1000
    largest: int = 4_000_000
    dead_share: float = 0.2


class Compacted(msgspec.Struct, frozen=True):
    """`merges` commits were made, the newest is `version`; `purged` dead rows are gone."""

    version: int
    merges: int
    segments_before: int
    segments_after: int
    purged: int


def live(ref: SegmentRef) -> int:
    return ref.count - ref.dead_count


def choose(segments: Sequence[SegmentRef], policy: Policy) -> tuple[SegmentRef, ...]:
    """The next merge, in the order of the manifest; nothing when all is well. Pure."""
    tiers: dict[int, list[SegmentRef]] = {}
    for ref in segments:
        over = max(1.0, live(ref) / policy.smallest)
        tiers.setdefault(math.floor(math.log(over, policy.fan_in) + 1e-9), []).append(ref)
    for _, tier in sorted(tiers.items()):
        group = _up_to(tier, policy.largest)
        if len(group) >= policy.fan_in:
            return group
    for ref in segments:
        flat_and_large = ref.kind == "flat" and live(ref) >= quantizer.IVF_FROM
        if flat_and_large or ref.dead_count > policy.dead_share * ref.count:
            return (ref,)
    return ()


def everything(segments: Sequence[SegmentRef], policy: Policy) -> tuple[SegmentRef, ...]:
    """As `choose`, for as few segments as `policy.largest` allows, and no dead row."""
    group = _up_to(sorted(segments, key=live), policy.largest)
    if len(group) > 1:
        return tuple(ref for ref in segments if ref in group)
    dead = (ref for ref in segments if ref.dead_count)
    return next(((ref,) for ref in dead), choose(segments, policy))


def _up_to(segments: Sequence[SegmentRef], most: int) -> tuple[SegmentRef, ...]:
    group, total = [], 0
    for ref in segments:
        if total + live(ref) > most:
            break
        group.append(ref)
        total += live(ref)
    return tuple(group)


def compact(
    writer: Writer, policy: Policy, *, full: bool = False, report_progress: Progress = lambda *_: None
) -> Compacted:
    """Merge until nothing is left to merge; `full` leaves as few segments as there can be. May be cut short anywhere
    and repeated. Raises as `Writer.commit`, and `Corrupt` where a segment cannot be read.
    """
    head = writer.head()
    before, dead = _census(head)
    version, merges = head.version, 0
    pick = everything if full else choose
    while (found := _next(writer.head(), pick, policy)) is not None:
        name, group = found
        report_progress(f"merging {len(group)} segments of {name}", merges, merges + 1)
        landed = writer.advance(_Merge(name, group))
        if landed == version:
            break  # somebody else changed the same segments: the next compaction looks again
        version, merges = landed, merges + 1
    landed = writer.advance(_merge_texts)
    merges += landed != version
    after, still_dead = _census(writer.head())
    return Compacted(landed, merges, before, after, max(0, dead - still_dead))


Pick = Callable[[Sequence[SegmentRef], Policy], tuple[SegmentRef, ...]]


def _next(head: Manifest, pick: Pick, policy: Policy) -> tuple[str, tuple[SegmentRef, ...]] | None:
    for name, space in sorted(head.spaces.items()):
        group = pick(space.segments, policy)
        if group:
            return name, group
    return None


def _census(head: Manifest) -> tuple[int, int]:
    segments = [ref for space in head.spaces.values() for ref in space.segments]
    return len(segments), sum(ref.dead_count for ref in segments)


class _Merge:
    """One merge as a change. It is built once; a lost race only adds the rows that died meanwhile."""

    def __init__(self, space: str, group: Sequence[SegmentRef]) -> None:
        self._space, self._ids = space, tuple(ref.id for ref in group)
        self._merged: merge.Merged | None = None
        self._files: Files = {}
        self._began: tuple[quantizer.Quantizer | None, SpaceRef] | None = None
        self._buried: list[pyroaring.BitMap] = []

    def __call__(self, attempt: Attempt) -> Manifest | None:
        space = attempt.head.spaces.get(self._space)
        here = {ref.id: ref for ref in space.segments} if space else {}
        if space is None or not all(id in here for id in self._ids):
            return None
        inputs = [here[id] for id in self._ids]
        if self._began is None:
            self._began = self._quantizer(attempt, space, inputs), space
            self._buried = [_dead(attempt, ref) for ref in inputs]
            self._merged = merge.merge(
                inputs,
                attempt.stores,
                attempt.folder,
                attempt.txn,
                attempt.txn,
                quantizer=self._began[0],
                report=attempt.report,
            )
        trained, base = self._began
        if space.quantizer != base.quantizer:
            return None  # another compaction trained one meanwhile
        dead = [_dead(attempt, ref) for ref in inputs]
        if not all(then <= now for then, now in zip(self._buried, dead, strict=True)):
            return None  # a rollback brought rows back that were left out
        made = self._carried(attempt, dead)
        segments = []
        for ref in space.segments:
            if ref.id == self._ids[0] and made is not None:
                segments.append(made)
            if ref.id not in self._ids:
                segments.append(ref)
        changed = msgspec.structs.replace(space, segments=tuple(segments))
        if trained is not None and trained.ref != space.quantizer:
            count = sum(live(ref) for ref in base.segments)
            changed = msgspec.structs.replace(changed, quantizer=trained.ref, trained_for=count)
        return attempt.next(spaces={**attempt.head.spaces, self._space: changed})

    def _quantizer(self, attempt: Attempt, space: SpaceRef, inputs: Sequence[SegmentRef]) -> quantizer.Quantizer | None:
        """The space's quantizer if the merged segment is to be IVF: trained now if there is none that fits."""
        if sum(live(ref) for ref in inputs) < quantizer.IVF_FROM:
            return None
        count = sum(live(ref) for ref in space.segments)
        if space.quantizer is not None and not quantizer.outgrown(space, count):
            return quantizer.read(attempt.stores, space.quantizer, report=attempt.report)
        with ExitStack() as stack:
            opened = [
                stack.enter_context(closing(Segment(ref, attempt.stores, attempt.report))) for ref in space.segments
            ]
            vectors = quantizer.sample(opened, quantizer.sample_size(count))
        trained, path = quantizer.train(vectors, count, attempt.folder, attempt.txn)
        self._files[trained.ref.name] = trained.ref, path
        return trained

    def _carried(self, attempt: Attempt, dead_now: Sequence[pyroaring.BitMap]) -> SegmentRef | None:
        """The merged segment, with the rows dead that died since; None if none is alive."""
        merged = self._merged
        if merged is None:
            return None
        attempt.files.update(self._files)
        attempt.files.update(
            {b.name: (b, merged.files[b.name]) for b in blobs_of(merged.ref) if b.name in merged.files}
        )
        dead = merged.carry(dead_now)
        if not dead:
            return merged.ref
        if len(dead) == merged.ref.count:
            return None
        return msgspec.structs.replace(merged.ref, dead=effects.write_dead(dead, attempt), dead_count=len(dead))


def _dead(attempt: Attempt, ref: SegmentRef) -> pyroaring.BitMap:
    return pyroaring.BitMap() if ref.dead is None else read_dead(attempt.stores, ref.dead, report=attempt.report)


def _merge_texts(attempt: Attempt) -> Manifest | None:
    """Merge the newest text runs that are not much larger than what came after them."""
    runs = attempt.head.texts
    count = state.merge_plan(runs, 1)
    if count < 2:
        return None
    stay, into = runs[: len(runs) - count], runs[len(runs) - count :]
    texts = TextView(into, attempt.stores, attempt.report).scan()
    # Only here nothing older can come to light again when a text is left out.
    kept = texts if stay else _still_there(texts, attempt.states)
    run, path = state.write_texts(attempt.folder, kept, attempt.txn)
    attempt.files[run.blob.name] = run.blob, path
    merged: tuple[RunRef, ...] = (*stay, run) if run.count else stay
    return attempt.next(texts=merged)


def _still_there(texts: Iterator[DocText], states: StateView) -> Iterator[DocText]:
    """Those whose document is served; both ascend by uri."""
    served = (doc.uri for doc in states.scan() if doc.status == "indexed" or doc.chunks)
    uri = next(served, None)
    for text in texts:
        while uri is not None and uri < text.uri:
            uri = next(served, None)
        if uri == text.uri:
            yield text
