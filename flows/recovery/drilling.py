"""One drill of one DR store, from its newest version to the comparison with production."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.flows import wiring
from penstock.flows.answers.render import count, duration, plain
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import archives, probes, scratch
from penstock.flows.recovery.drill_log import Drilled, Result
from penstock.flows.recovery.probes import Probes
from penstock.index.commits import manifest as manifests
from penstock.index.errors import Corrupt, IndexFault, NotRetained, Unavailable, WrongIndex
from penstock.index.reading.reader import Reader
from penstock.index.recovery import gaps
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.lag import measure
from penstock.index.types import Hit, Manifest

if TYPE_CHECKING:
    from penstock.flows.recovery.restoring import Restored

K = 10
"""Hits that are compared for each probe."""
TOO_OLD = 24 * 3600.0
"""A DR store that is further behind than this, in seconds, fails its drill even where it restores."""
_BATCH = 32
_SAID = 5
"""Differences of one kind that are told one by one."""


class Production(msgspec.Struct, frozen=True):
    """The index that a drill is for: where it is, what it is now, and what it is asked."""

    settings: Settings
    home: Home
    head: Manifest
    asked: Probes


class Answers(msgspec.Struct, frozen=True):
    """What an index said at one version: the hits of each probe."""

    manifest: Manifest
    hits: list[list[Hit]]


class Drilling:
    """Holds one drill. What is wrong with what was restored is a reason; what stops the drill is one too."""

    def __init__(
        self,
        production: Production,
        place: StorePlace,
        apart: Settings,
        report: Callable[[str], None],
        progress: Callable[[str, int, int], None],
    ) -> None:
        """`apart`: the settings of the restored home."""
        self._production, self._place, self._apart = production, place, apart
        self._progress, self._say = progress, report
        self._reasons: list[str] = []
        self._notes: list[str] = []
        self._figures: dict[str, Any] = {"head": production.head.version, "asked": production.asked.made_from}
        self._first: list[Hit] | None = None

    def hold(self, where: Path, keep: bool, room: scratch.Free) -> Drilled:
        """Do it, in the folder `where`. Raises `UsageError` where that holds something else, and nothing else."""
        at, began = wiring.clock(), time.monotonic()
        result: Result = "undone"
        try:
            self._hold(where, keep, room, at)
            result = "failed" if self._reasons else "passed"
        except (IndexFault, OSError) as fault:
            known = bool(self._reasons) or isinstance(fault, Corrupt | WrongIndex)
            result = "failed" if known else "undone"
            self._reasons.append(str(fault))
        return Drilled(
            self._place.url,
            result,
            at,
            tuple(dict.fromkeys(self._reasons)),
            seconds=time.monotonic() - began,
            notes=tuple(note for note in dict.fromkeys(self._notes) if note not in self._reasons),
            **self._figures,
        )

    def _hold(self, where: Path, keep: bool, room: scratch.Free, at: float) -> None:
        archive = archives.archive(self._place, os.environ, self._note)
        archive.require(self._production.head.lineage)
        shipped = archive.versions()
        if not shipped:
            raise WrongIndex("no version was ever shipped there whole; run `penstock ship`")
        newest = self._figures["shipped"] = shipped[-1][0]
        self._reasons += gaps.unrecorded([archive])
        self._measure_lag(archive, newest, at)
        expected = self._asked_production(newest)
        with scratch.made(where, _needed(archive, shipped), keep, at, room) as (_, kept):
            self._figures["kept"] = str(kept or "")
            home = Home(Path(self._apart.home))
            restored = self._restore(home)
            if restored.version != newest:
                self._reasons.append(
                    f"version {newest} is not whole there: {restored.version} was restored in its stead"
                )
                self._reasons += restored.passed_over
                self._first = None  # that was another version's
                expected = self._asked_production(restored.version)
            self._verify(home)
            with wiring.open_reader(self._apart, home, self._note) as reader:
                self._compare(reader, expected)

    def _restore(self, home: Home) -> Restored:
        from penstock.flows.recovery import restoring

        began, vectors = time.monotonic(), self._production.asked.vectors

        def searchable(reader: Reader) -> None:
            try:
                self._first = reader.search(vectors[:1], K)[0] if len(vectors) else []
            except (IndexFault, ValueError) as fault:
                self._reasons.append(f"the first question could not be answered while restoring: {fault}")
            self._figures["seconds_to_answer"] = time.monotonic() - began

        request = restoring.Request(stores=(self._place,), fork=True)
        restored = restoring.restore(self._apart, home.path, request, self._note, self._progress, searchable)
        self._figures |= {
            "restored": restored.version,
            "seconds_to_whole": restored.seconds_to_whole,
            "blobs": restored.blobs,
            "bytes": restored.bytes,
        }
        return restored

    def _verify(self, home: Home) -> None:
        from penstock.flows.runs import upkeep

        began = time.monotonic()
        found = upkeep.verify(self._apart, home, self._progress)
        self._figures |= {"seconds_to_verify": time.monotonic() - began, "findings": len(found)}
        self._tell([f"verify: {one.where}: {one.what}" for one in found], "findings")

    def _compare(self, reader: Reader, expected: Answers | None) -> None:
        """The restored index, whole, against production at the version that was restored."""
        made, asked = reader.manifest, self._production.asked
        self._figures |= {name: made.counts.get(name, 0) for name in ("documents", "chunks")}
        self._figures["probes"] = len(asked.probes)
        if expected is None:
            return
        self._tell(_content(expected.manifest, made), "differences")
        if not asked.probes:
            self._notes.append("the index holds no passage: nothing was asked")
            return
        if len(expected.hits) != len(asked.probes):
            self._reasons.append("the probes do not fit that version: it was made with another model")
            return
        hits = _ask(reader, asked)
        pairs: list[Any] = list(zip_longest(asked.texts, expected.hits, hits, fillvalue=[]))
        wrong = [_difference(str(text), list(was), list(now)) for text, was, now in pairs if was != now]
        self._figures["equal"] = len(pairs) - len(wrong)
        self._tell(wrong, "other answers")
        if self._first is not None and self._first != expected.hits[0] and hits[0] == expected.hits[0]:
            self._reasons.append(_difference(asked.texts[0], expected.hits[0], self._first) + ", while restoring")

    def _asked_production(self, version: int) -> Answers | None:
        """What production says at that version; None, and a reason, where it has it no more."""
        production = self._production
        try:
            with wiring.open_reader(production.settings, production.home, self._note, version=version) as reader:
                return Answers(reader.manifest, _ask(reader, production.asked))
        except NotRetained:
            if version > production.head.version:
                said = f"the DR store has version {version}, production only {production.head.version}"
            else:
                said = f"production does not keep version {version} any more: ship more often, or raise [keep]"
            self._reasons.append(f"{said}; answers could not be compared")
            return None
        except IndexFault as fault:
            raise Unavailable(f"production could not be asked: {fault}") from fault

    def _measure_lag(self, archive: Archive, shipped: int, now: float) -> None:
        """By what production's replicas publish beyond the newest version that was shipped."""
        production = self._production
        replicas = list(wiring.stores(production.settings, production.home).values())
        lag = measure(replicas, archive, production.head.lineage, now, self._note)
        if not lag.reachable:
            raise Unavailable(f"how far it is behind could not be measured: {lag.reason}")
        self._figures |= {"lag_versions": lag.versions, "lag_seconds": lag.seconds}
        if lag.reason:
            self._reasons.append(f"nothing more will be shipped there: {lag.reason}")
        if lag.seconds > TOO_OLD:
            self._reasons.append(
                f"the newest version there is {shipped}, {count(lag.versions, 'version')} behind for "
                f"{duration(lag.seconds)}; run `penstock ship`, and see why shipping stopped"
            )

    def _tell(self, wrong: Sequence[str], what: str) -> None:
        """Reasons; of many alike the first few."""
        self._reasons += wrong[:_SAID]
        if len(wrong) > _SAID:
            self._reasons.append(f"and {len(wrong) - _SAID:,} more {what}")

    def _note(self, line: str) -> None:
        self._notes.append(line)
        self._say(line)


def _ask(reader: Reader, asked: Probes) -> list[list[Hit]]:
    """The hits of each probe; none at all where the vectors of that version are of another kind."""
    if probes.space_of(reader) != (asked.space, asked.dim):
        return []
    vectors = asked.vectors
    return [hits for at in range(0, len(vectors), _BATCH) for hits in reader.search(vectors[at : at + _BATCH], K)]


def _needed(archive: Archive, shipped: Sequence[tuple[int, int]]) -> int:
    """Bytes that a restored copy takes, with room for the largest blob once more, on its way."""
    for version, epoch in reversed(shipped):
        try:
            record = archive.record(version, epoch)
            made = archive.manifest(record.manifest)
        except (Corrupt, FileNotFoundError):
            continue  # the restore says what is wrong with it
        sizes = [record.manifest.size, *(ref.size for ref in manifests.closure(made).values())]
        return sum(sizes) + max(sizes) + sum(sizes) // 20 + scratch.SPARE
    return scratch.SPARE


def _content(was: Manifest, now: Manifest) -> list[str]:
    """Where the restored version is not the same as production's, but for who it is."""
    counts = [
        f"{now.counts.get(name, 0):,} {name}, {was.counts.get(name, 0):,} in production"
        for name in manifests.COUNTS
        if now.counts.get(name, 0) != was.counts.get(name, 0)
    ]
    parts = {"live": "space", "spaces": "segments", "state": "document state", "texts": "texts", "sources": "sources"}
    other = [said for name, said in parts.items() if getattr(was, name) != getattr(now, name)]
    return counts + ([f"not production's: {', '.join(other)}"] if other else [])


def _difference(text: str, was: Sequence[Hit], now: Sequence[Hit]) -> str:
    """The first hit that is another one."""
    rank, one, other = next(
        (rank, one, other) for rank, (one, other) in enumerate(zip_longest(was, now), 1) if one != other
    )
    said = f"{plain(text)[:60]!r}: hit {rank} is {_named(other)}, in production {_named(one)}"
    if one is not None and other is not None and (one.chunk_id, one.score) == (other.chunk_id, other.score):
        return f"{said}, with other text"
    return said


def _named(hit: Hit | None) -> str:
    return "none" if hit is None else f"{plain(hit.uri)} {hit.chunk_id[:12]} ({hit.score!r})"
