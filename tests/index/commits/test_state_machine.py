"""Any history of commits, losses and repairs against a plain dict: an example that fails is shrunk and printed.

Damage stays within what is promised: one replica, or the catalog, or both, until repair. `--hypothesis-seed`
replays a run.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.index.blobs import blob
from penstock.index.care.collect import Retention, collect
from penstock.index.care.compact import Policy, compact
from penstock.index.care.repair import repair
from penstock.index.care.rollback import rollback
from penstock.index.commits import log, markers, membership
from penstock.index.commits import manifest as manifests
from penstock.index.commits.commit import Delta, Writer
from penstock.index.errors import IndexFault
from penstock.index.reading.reader import Reader
from penstock.index.stores.store import LocalStore
from tests.index.world import DIM, World, delta
from tests.sim import model

URIS = st.sampled_from([f"s/{letter}" for letter in "abcde"])
CONTENTS = st.one_of(st.none(), st.sampled_from(["one", "one two", "one two three", "uno", "uno dos", "x y z"]))
CHANGES = st.dictionaries(URIS, CONTENTS, min_size=1, max_size=3)
STATUSES = st.sampled_from(["indexed", "indexed", "indexed", "failed", "rejected"])
BYTE = st.integers(0, 1 << 30)
SHM = Path("/dev/shm")


class Index(RuleBasedStateMachine):
    """One home. `docs` is what the head holds, `kept` what each version held while it can still be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine", dir=SHM if SHM.is_dir() else None))
        self.docs: model.Docs = {}
        self.kept: dict[int, model.Docs] = {0: {}}
        self.head = 0
        self.hurt: str | None = None
        self.catalog_hurt = False
        self.writer: Writer | None = None
        self.reader: Reader | None = None
        self.copies: dict[str, Path] = {}

    @initialize(shape=st.sampled_from([(1, 1), (2, 2), (3, 2)]))
    def make(self, shape: tuple[int, int]) -> None:
        self.world = World(self.root / "home", *shape)
        self.writer = self.world.create()
        self.commit({"s/a": "one two"}, "indexed", 0)
        self.reader = self.open_reader()

    def teardown(self) -> None:
        for thing in (self.reader, self.writer):
            if thing is not None:
                thing.close()
        shutil.rmtree(self.root, ignore_errors=True)

    @rule(changes=CHANGES, status=STATUSES, behind=st.sampled_from([0, 0, 1]))
    def commit(self, changes: dict[str, str | None], status: str, behind: int) -> None:
        """Lands whole, or is refused with a named error and changes nothing, or is found to have landed."""
        base = max(0, self.head - behind)
        if base not in self.kept:
            base = self.head
        self.apply(self.writer_now(), delta(base, changes, status=status), self.kept[base])

    @rule(mine=CHANGES, theirs=CHANGES)
    def duel(self, mine: dict[str, str | None], theirs: dict[str, str | None]) -> None:
        """Two writers that planned on the same version: what both changed stays as the first one left it."""
        writer = self.writer_now()
        if self.hurt or self.catalog_hurt:
            return
        base, was = self.head, self.docs
        with self.world.open() as other:
            self.apply(other, delta(base, theirs), was)
        self.apply(writer, delta(base, mine), was)

    @rule(left=st.sampled_from(["content.built", "blobs.put.one", "blobs.put", "ratified", "published.one"]))
    def die(self, left: str) -> None:
        """A writer that stops in the middle of a commit: the next one finds all of it, or nothing."""
        self.rest()
        if self.hurt or self.catalog_hurt:
            return
        ready: list[str] = []
        writer = self.world.open(reach=lambda point: _die_at(point, ready))
        ready.append(left)
        change = delta(self.head, {"s/dead": f"at {left}", "s/a": None})
        with contextlib.suppress(_Died):
            writer.commit(change)
        writer.close()
        self.adopt(change, self.docs)

    @rule()
    def reopen(self) -> None:
        """Opening changes nothing, and everything is as it was."""
        self.rest()
        self.writer_now()

    @precondition(lambda self: len(self.world.ids) > 1 and self.hurt is None)
    @rule(at=BYTE, how=st.sampled_from(["flip", "cut", "delete", "folder"]))
    def damage_replica(self, at: int, how: str) -> None:
        """A file that the head needs, or the folder: verify tells."""
        self.rest()
        name = self.world.ids[at % len(self.world.ids)]
        self.hurt = name
        if how == "folder":
            shutil.rmtree(self.world.folder(name))
        else:
            _damage(self.needed(name)[at % len(self.needed(name))], at, how)
        assert self.world.findings() != [], f"{how} of replica {name} is not found"

    @rule(which=BYTE)
    def copy_replica(self, which: int) -> None:
        """Somebody makes a copy, to put it back one day."""
        name = self.world.ids[which % len(self.world.ids)]
        if self.hurt != name and self.world.folder(name).is_dir():
            shutil.rmtree(self.root / f"copy-{name}", ignore_errors=True)
            self.copies[name] = Path(shutil.copytree(self.world.folder(name), self.root / f"copy-{name}"))

    @precondition(lambda self: self.copies and len(self.world.ids) > 1 and self.hurt is None)
    @rule(which=BYTE)
    def roll_back_replica(self, which: int) -> None:
        """An old copy is put back; what it once had is not taken for what is."""
        name = sorted(self.copies)[which % len(self.copies)]
        if name not in self.world.ids:
            return
        self.rest()
        self.hurt = name
        shutil.rmtree(self.world.folder(name))
        shutil.move(self.copies.pop(name), self.world.folder(name))

    @precondition(lambda self: not self.catalog_hurt)
    @rule(how=st.sampled_from(["delete", "garbage", "cut"]))
    def damage_catalog(self, how: str) -> None:
        """The catalog is gone, or no database any more."""
        path = self.root / "home" / "catalog.db"
        self.catalog_hurt = True
        match how:
            case "delete":
                path.unlink()
            case "garbage":
                path.write_bytes(b"garbage" * 1000)
            case "cut":
                path.write_bytes(path.read_bytes()[:5000])
        assert self.world.findings() != [], f"{how} of the catalog is not found"

    @rule()
    def verify(self) -> None:
        """Silent where nothing was hurt."""
        self.rest()
        if not (self.hurt or self.catalog_hurt):
            assert self.world.findings() == []

    @rule()
    def mend(self) -> None:
        """Repair makes everything whole: nothing is given up, and verify is silent."""
        self.rest()
        done = repair(
            self.world.catalog, self.world.stores(), report_progress=lambda *_: None, **self.world._arguments()
        )
        assert done.whole and not (done.lost or done.documents or done.unsaved or done.given_up), done
        self.hurt, self.catalog_hurt = None, False
        self.adopt(None, self.docs)
        assert self.world.findings() == []

    @rule(full=st.booleans())
    def compact(self, full: bool) -> None:
        """Merging changes where things lie, never what is there."""
        self.upkeep(lambda writer: compact(writer, Policy(fan_in=2, dead_share=0.01), full=full))

    @rule(versions=st.integers(1, 3))
    def collect(self, versions: int) -> None:
        """What has expired goes; the head never does."""
        self.upkeep(lambda writer: collect(writer, Retention(versions, 0.0), now=1e9))
        self.kept = {self.head: self.docs}

    @precondition(lambda self: self.hurt is None and not self.catalog_hurt)
    @rule(which=BYTE, late=CHANGES)
    def go_back(self, which: int, late: dict[str, str | None]) -> None:
        """An older version becomes the next one; what was planned before it is dropped until the source is let go."""
        writer = self.writer_now()
        kept = [version.version for version in writer.site.catalog.since(0) if version.version in self.kept]
        if not kept:
            return
        to, base, was = kept[which % len(kept)], self.head, self.docs
        self.head, self.docs = rollback(writer, to).version, self.kept[to]
        self.kept[self.head] = self.docs
        assert model.states(self.docs) == model.said(writer.states().scan())
        sources = writer.head().sources
        if self.head > base:
            done = writer.commit(delta(base, late))
            assert (done.version, model.states(self.docs)) == (self.head, model.said(writer.states().scan()))
            free = {name: msgspec.structs.replace(source, held="") for name, source in sources.items()}
            self.head = writer.commit(Delta(self.head, [], sources=free)).version
            self.kept[self.head] = self.docs
        else:
            assert model.states(was) == model.states(self.docs)

    @precondition(lambda self: self.hurt is None and not self.catalog_hurt)
    @rule(which=BYTE)
    def change_members(self, which: int) -> None:
        """A replica comes or goes by a commit, and is whole at once."""
        writer = self.writer_now()
        name = f"m{self.head}"
        if len(self.world.ids) < 3:
            store = LocalStore.create(self.world.folder(name), token=self.world.token)
            membership.add(writer, name, store)
            self.world.ids.append(name)
        else:
            gone = self.world.ids[which % len(self.world.ids)]
            membership.remove(writer, gone)
            self.world.ids.remove(gone)
            shutil.rmtree(self.world.folder(gone))
            self.copies.pop(gone, None)
        self.world.write_quorum = writer.head().membership.write_quorum
        self.rest()
        self.adopt(None, self.docs)
        if self.reader is not None:
            self.reader.close()
        self.reader = self.open_reader()  # one that is told where the replicas are now

    @rule()
    def refresh(self) -> None:
        """A reader goes on to the newest version, whatever is hurt."""
        assert self.reader is not None
        before = self.reader.version
        self.reader.refresh()
        assert before <= self.reader.version <= self.head

    @rule()
    def a_new_reader_serves_the_head(self) -> None:
        """Also while a replica and the catalog are hurt."""
        with self.open_reader() as reader:
            assert reader.version == self.head
            self.check(reader)

    @invariant()
    def the_reader_answers_as_the_dict_does(self) -> None:
        """The version that it serves, by brute force."""
        if self.reader is not None and self.reader.version in self.kept:
            self.check(self.reader)

    def check(self, reader: Reader) -> None:
        docs = self.kept[reader.version]
        assert model.said(reader.states()) == model.states(docs)
        query = np.random.default_rng(reader.version).standard_normal((1, DIM)).astype(np.float32)
        hits = [(hit.uri, hit.chunk_id, hit.text) for hit in reader.search(query, 5)[0]]
        assert hits == model.answer(docs, query[0], 5)

    def apply(self, writer: Writer, change: Delta, base: model.Docs) -> None:
        after, dropped = model.apply(change, base, self.docs)
        try:
            done = writer.commit(change)
        except IndexFault:
            assert self.hurt or self.catalog_hurt, "a commit is refused although nothing is wrong"
            self.mend_after(change, base)
            return
        assert set(done.dropped) == dropped
        assert done.version == self.head + (after != self.docs or done.version > self.head)
        self.head, self.docs = done.version, after
        self.kept[done.version] = after

    def mend_after(self, change: Delta, base: model.Docs) -> None:
        """After a commit that failed: all of it, or none, and the index is as good as ever."""
        self.rest()
        done = repair(
            self.world.catalog, self.world.stores(), report_progress=lambda *_: None, **self.world._arguments()
        )
        assert done.whole and not (done.lost or done.documents), done
        self.hurt, self.catalog_hurt = None, False
        self.adopt(change, base)

    def adopt(self, change: Delta | None, base: model.Docs) -> None:
        """Learn what the head is, which must be what it was, with the change or without."""
        writer = self.open_writer()
        head = writer.head()
        found = model.said(writer.states().scan())
        wanted = [self.docs] if change is None else [self.docs, model.apply(change, base, self.docs)[0]]
        match = [docs for docs in wanted if model.states(docs) == found]
        assert match and head.version >= self.head
        # An epoch, a repair or a merge may have made versions that changed nothing.
        for version in range(self.head + 1, head.version):
            self.kept.pop(version, None)
        self.docs = match[-1]
        self.head = head.version
        self.kept[self.head] = self.docs

    def upkeep(self, work: Callable[[Writer], Any]) -> None:
        try:
            work(self.writer_now())
        except IndexFault:
            assert self.hurt or self.catalog_hurt, "refused although nothing is wrong"
            self.mend_after(delta(self.head, {}), self.docs)
            return
        self.adopt(None, self.docs)

    def writer_now(self) -> Writer:
        """The open writer, or a new one; where something is hurt that needs repair, it gets it."""
        if self.writer is None:
            try:
                self.open_writer()
            except IndexFault:
                assert self.hurt or self.catalog_hurt, "the index cannot be opened although nothing is wrong"
                self.mend()
            else:
                self.adopt(None, self.docs)
        return self.open_writer()

    def open_writer(self) -> Writer:
        self.writer = self.writer or self.world.open()
        return self.writer

    def rest(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def open_reader(self) -> Reader:
        return Reader.open(*self.world.stores().values(), report=lambda _: None)

    def needed(self, name: str) -> list[Path]:
        """The files of a replica without which it is not whole."""
        folder = self.world.folder(name)
        with self.open_reader() as reader:
            blobs = [folder / blob.key(ref) for ref in manifests.closure(reader.manifest).values()]
        newest = sorted((folder / log.PREFIX).iterdir())[-1]
        return [folder / markers.REPLICA, newest, *sorted(path for path in blobs if path.is_file())]


class _Died(BaseException):
    """What a kill looks like from inside."""


def _die_at(point: str, where: list[str]) -> None:
    if point in where:
        raise _Died


def _damage(path: Path, at: int, how: str) -> None:
    data = path.read_bytes()
    place = at % len(data)
    match how:
        case "flip":
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        case "cut":
            path.write_bytes(data[:place])
        case "delete":
            path.unlink()


TestIndex = Index.TestCase
TestIndex.settings = settings(
    max_examples=20,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
