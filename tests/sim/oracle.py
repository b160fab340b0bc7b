"""Knows all that ever happened, and says when the index does not: lost, half, twice, or two histories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from penstock.index.blobs import blob
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.commit import Delta
from penstock.index.errors import IndexFault
from penstock.index.reading.reader import Reader
from penstock.index.types import BlobRef, Manifest
from tests.index.world import DIM
from tests.sim import model
from tests.sim.disk import Disk
from tests.sim.scheduler import Violation


@dataclass(frozen=True)
class Intent:
    """What a process wanted while it drew a token: a delta against a base; or, without one, to change no content."""

    delta: Delta | None = None
    base: str = ""
    mends: bool = False
    """A repair: beyond the budget it may give up what cannot be saved."""


KEEP = Intent()


@dataclass
class Oracle:
    """`ever` holds every blob that was ever put, as it was put; `disks` what the replicas hold now."""

    disks: Mapping[str, Disk]
    ever: dict[str, bytes]
    damaged: Callable[[], set[str]]
    intents: dict[str, Intent] = field(default_factory=dict)
    acked: dict[int, str] = field(default_factory=dict)
    """Manifest name by acknowledged version."""
    acknowledgements: int = 0
    strict: bool = True
    """Whether damage stays within what the promises allow."""
    _docs: dict[str, model.Docs | None] = field(default_factory=dict)

    def manifest(self, name: str) -> Manifest:
        """A manifest by its blob's name, as it was written."""
        data = self.ever[f"blobs/{name[:2]}/{name}"]
        return manifests.decode(data[: len(data) - blob.trailer_size(len(data))])

    def docs(self, name: str) -> model.Docs | None:
        """What the version with this manifest holds: its parent's, changed as its writer meant to.

        None where a repair had to give something up, and what became of it is not known here.
        """
        line, known = [], name
        while known and known not in self._docs:
            line.append(known)
            known = self.manifest(known).parent
        for at in reversed(line):
            made = self.manifest(at)
            before = self._docs[made.parent] if made.parent else {}
            if made.txn not in self.intents:
                raise Violation(f"version {made.version} was made by nobody (transaction {made.txn})")
            intent = self.intents[made.txn]
            base = self.docs(intent.base) if intent.base else {}
            after = before
            if before is None or base is None or (intent.mends and not self.strict):
                after = None
            elif intent.delta is not None:
                after, _ = model.apply(intent.delta, base, before)
            self._docs[at] = after
        return self._docs[name] if name else {}

    def ancestry(self, name: str) -> dict[int, str]:
        """Manifest names by version, from this one back to the first."""
        chain = {}
        while name:
            made = self.manifest(name)
            chain[made.version] = name
            name = made.parent
        return chain

    def name_of(self, manifest: Manifest) -> str:
        """The blob that holds this manifest; empty for version 0."""
        if manifest.version == 0:
            return ""
        found = [key for key in self.ever if key.endswith("." + manifest.txn)]
        for key in found:
            name = key.rsplit("/", 1)[1]
            try:
                if self.manifest(name) == manifest:
                    return name
            except IndexFault:
                continue
        raise Violation(f"version {manifest.version} that is served was never written")

    def floor(self) -> int:
        """The newest version that has expired, as far as any replica was told."""
        keys = (key for disk in self.disks.values() for key in disk.values if key.startswith(markers.FLOORS))
        return max((int(key.removeprefix(markers.FLOORS)) for key in keys), default=0)

    def acknowledged(self, version: int, intent: Intent) -> None:
        """A commit returned: its version is on W replicas, whole, and part of the one history."""
        self.acknowledgements += 1
        ref = self._decided_for(version, intent)
        if ref is None:
            return  # it changed nothing: somebody had committed the same before
        holders = {name for name, disk in self.disks.items() if not missing(disk, version, ref, self)}
        quorum = self.manifest(ref.name).membership.write_quorum
        if self.strict and version > self.floor() and len(holders | self.damaged()) < quorum:
            why = {name: missing(disk, version, ref, self) for name, disk in self.disks.items()}
            raise Violation(f"version {version} was acknowledged and is whole on {sorted(holders)} only: {why}")
        if not self.strict:
            return
        chain = self.ancestry(ref.name)
        for other, name in self.acked.items():
            if other <= version and chain.get(other) != name:
                raise Violation(f"version {version} does not follow the acknowledged version {other}")
            if other > version and self.ancestry(name).get(version) != ref.name:
                raise Violation(f"version {version} was acknowledged beside the history of version {other}")
        self.acked[version] = ref.name

    def _decided_for(self, version: int, intent: Intent) -> BlobRef | None:
        """The manifest of this version that was made for `intent`, as any replica publishes it."""
        for disk in self.disks.values():
            for key in [key for key in disk.values if log.parse(key) and log.parse(key)[0] == version]:  # type: ignore[index]
                try:
                    record = log.decode(disk.values[key], key)
                except IndexFault:
                    continue
                if self.intents.get(record.txn) is intent:
                    return record.manifest
        return None

    def check_reader(self, reader: Reader, rng: np.random.Generator) -> None:
        """What a reader answers is what its version holds, by brute force."""
        name = self.name_of(reader.manifest)
        docs = self.docs(name)
        if docs is None:
            _check_whole(reader)
            return
        if model.said(reader.states()) != model.states(docs):
            raise Violation(f"states of version {reader.version}: {_differ(model.said(reader.states()), docs)}")
        query = rng.standard_normal((1, DIM)).astype(np.float32)
        for k in (3, 1000):
            hits = [(hit.uri, hit.chunk_id, hit.text) for hit in reader.search(query, k)[0]]
            if hits != model.answer(docs, query[0], k):
                raise Violation(f"version {reader.version}: a search finds {hits}, not what it holds")

    def check_kept(self, name: str) -> None:
        """The version in manifest `name` has every acknowledged one among its ancestors."""
        chain = self.ancestry(name)
        for version, acked in sorted(self.acked.items()):
            if chain.get(version) != acked:
                raise Violation(f"LOST: acknowledged version {version} is not in the history of version {max(chain)}")


def _check_whole(reader: Reader) -> None:
    """Each document has all of its chunks, and nothing else is found."""
    found = Counter(hit.uri for hit in reader.search(np.ones((1, DIM), np.float32), 10_000)[0])
    if found != {state.uri: state.chunks for state in reader.states() if state.chunks}:
        raise Violation(f"version {reader.version}: documents are served in parts: {dict(found)}")


def _differ(found: list[tuple[str, str, str, int]], docs: model.Docs) -> str:
    want = model.states(docs)
    return f"has {sorted(set(found) - set(want))}, lacks {sorted(set(want) - set(found))}"


def missing(disk: Disk, version: int, ref: BlobRef, oracle: Oracle) -> str:
    """What this disk lacks of a version that it should publish with this manifest; empty if nothing."""
    if markers.REPLICA not in disk.values:
        return "no marker"
    published = False
    for key in disk.values:
        if (log.parse(key) or (0, 0))[0] == version:
            try:
                published |= log.decode(disk.values[key], key).manifest == ref
            except IndexFault:
                continue
    if not published:
        return "no record"
    needed = [ref.name, *manifests.closure(oracle.manifest(ref.name))]
    keys = [f"blobs/{blob[:2]}/{blob}" for blob in needed]
    return ", ".join(key for key in keys if disk.values.get(key) != oracle.ever[key])
