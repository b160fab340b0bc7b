"""Log records: named by version and epoch, checked against damage, the highest epoch counts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.index.blobs import framed
from penstock.index.commits import log
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.stores.store import LocalStore
from penstock.index.types import BlobRef

RECORD = log.LogRecord(1, "lineage", 3, 2, "id", "txn", BlobRef("ab" * 32 + ".t", 10, "cd"), 12.5)


@given(st.integers(0, 10**12 - 2), st.integers(0, 10**8 - 1))
def test_a_key_names_version_and_epoch(version: int, epoch: int) -> None:
    """And sorts by them."""
    assert log.parse(log.key(version, epoch)) == (version, epoch)
    assert log.key(version, epoch) < log.key(version + 1, 0)


@pytest.mark.parametrize("name", ["log/1.2", "blobs/000000000001.00000001", "log/00000000000x.00000001", ""])
def test_other_names_are_no_records(name: str) -> None:
    """They are passed over, never guessed at."""
    assert log.parse(name) is None


@given(st.data())
def test_any_changed_byte_is_corrupt(data: st.DataObject) -> None:
    """Whichever byte, whatever it becomes."""
    whole = log.encode(RECORD)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
    with pytest.raises(Corrupt):
        log.decode(whole[:at] + bytes([other]) + whole[at + 1 :], "here")
    with pytest.raises(Corrupt):
        log.decode(whole[:at], "here")
    assert log.decode(whole, "here") == RECORD


def test_a_newer_format_is_refused_by_name() -> None:
    """The line says what to do."""
    with pytest.raises(WrongIndex, match=r"here has format 2.*upgrade"):
        log.decode(framed.encode(msgspec.structs.replace(RECORD, format=2)), "here")


def test_at_equal_version_the_higher_epoch_counts(tmp_path: Path) -> None:
    """And the newest version is found whatever else lies in the log."""
    store = LocalStore.create(tmp_path, token=iter("abcdefgh").__next__)
    assert log.newest(store) is None
    for version, epoch in ((2, 1), (3, 1), (3, 2)):
        record = msgspec.structs.replace(RECORD, version=version, epoch=epoch)
        store.put_if_absent(log.key(version, epoch), log.encode(record))
    (tmp_path / "log" / "stray").write_bytes(b"")
    assert log.entries(store) == [(2, 1), (3, 2)]
    assert log.newest(store) == RECORD


def test_a_record_under_another_name_is_corrupt(tmp_path: Path) -> None:
    """A valid record copied to another version's name is not that version."""
    store = LocalStore.create(tmp_path, token=iter("abcdefgh").__next__)
    store.put_if_absent(log.key(9, 2), log.encode(RECORD))
    with pytest.raises(Corrupt, match="holds version 3"):
        log.newest(store)
