"""Filling replicas: only what was checked has a name there, wherever the DR stores are damaged."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs import blob
from penstock.index.errors import NoSpace, Unavailable
from penstock.index.recovery import filling
from penstock.index.recovery.filling import Filling, Lost
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef
from tests.index.recovery.shipped import flip, token

HARMS = st.sampled_from(["", "", "flipped", "short", "missing", "another's"])


def made(root: Path, count: int, stores: list[LocalStore]) -> list[BlobRef]:
    """Blobs of growing size, in each of the stores."""
    refs = []
    for number in range(count):
        path = root / "making"
        path.write_bytes(bytes([number]) * (10**number))
        refs.append(blob.seal(path, "t"))
        for store in stores:
            store.put_if_absent(blob.key(refs[-1]), path)
    return refs


def harm(store: LocalStore, ref: BlobRef, how: str) -> None:
    path = store.root / blob.key(ref)
    if how == "flipped":
        flip(path, 7)
    elif how == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "missing":
        path.unlink()
    elif how:
        path.write_bytes(b"x" * ref.size)


def filling_of(sources: list[Store], replicas: list[Store], root: Path) -> Filling:
    nothing = {"report": lambda _: None, "progress": lambda *_: None, "reach": lambda _: None}
    return Filling(sources, replicas, root / "scratch", **nothing)  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(HARMS, HARMS), min_size=4, max_size=4), st.booleans())
def test_only_whole_blobs_have_a_name_on_a_replica(harms: list[tuple[str, str]], wide: bool) -> None:
    """Each blob comes from a DR store that has it whole; `Lost` is one that none has."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "WIDE", 0 if wide else 1 << 40)
        root = Path(folder)
        sources = [LocalStore.create(root / name, token=token) for name in ("one", "two")]
        replicas = [LocalStore.create(root / name, token=token) for name in ("0", "1")]
        refs = made(root, len(harms), sources)
        for ref, each in zip(refs, harms, strict=True):
            for source, how in zip(sources, each, strict=True):
                harm(source, ref, how)
        lost = {ref.name for ref, each in zip(refs, harms, strict=True) if all(each)}
        try:
            filling_of([*sources], [*replicas], root).fill(refs)
        except Lost as said:
            assert said.ref.name in lost
        else:
            assert not lost
        for replica in replicas:
            names = {path.name: path for path in replica.root.glob("blobs/*/*")}
            assert lost.isdisjoint(names) and (lost or len(names) == len(refs))
            for name, path in names.items():
                assert hashlib.sha256(path.read_bytes()).hexdigest() == name.split(".")[0]
            assert not list(replica.root.glob("tmp/*"))


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    """One replica lacks one blob: it alone is read."""
    source = LocalStore.create(tmp_path / "dr", token=token)
    replicas = [LocalStore.create(tmp_path / name, token=token) for name in ("0", "1")]
    refs = made(tmp_path, 3, [source])
    filling_of([source], [*replicas], tmp_path).fill(refs)
    replicas[1].delete(blob.key(refs[1]))
    again = filling_of([source], [*replicas], tmp_path)
    again.fill(refs)
    assert (again.blobs, again.bytes) == (1, refs[1].size)


class Full(LocalStore):
    """A disk without room."""

    def incoming(self, key: str):  # type: ignore[no-untyped-def]
        raise NoSpace(f"{self.name}: the disk is full")


def test_a_full_replica_is_no_damage_of_the_dr_store(tmp_path: Path) -> None:
    """It is said as what it is, and no other DR store is asked."""
    source = LocalStore.create(tmp_path / "dr", token=token)
    refs = made(tmp_path, 2, [source])
    full = Full.create(tmp_path / "0", token=token)
    with pytest.raises(NoSpace, match="the disk is full"):
        filling_of([source], [full], tmp_path).fill(refs)


def test_a_dr_store_that_goes_away_is_no_damage_either(tmp_path: Path) -> None:
    """The same command goes on when it is back."""
    source = LocalStore.create(tmp_path / "dr", token=token)
    refs = made(tmp_path, 2, [source])
    (tmp_path / "dr").rename(tmp_path / "away")
    replica = LocalStore.create(tmp_path / "0", token=token)
    with pytest.raises(Unavailable):
        filling_of([source], [replica], tmp_path).fill(refs)
