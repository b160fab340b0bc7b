"""Tables give back what was written, by position and by key, and refuse what is no table."""

from __future__ import annotations

import json
import random
import threading

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs import table
from penstock.index.blobs.table import Table, write
from penstock.index.errors import Corrupt


class PlainBlob:
    """A blob without stores: content in memory, already verified."""

    def __init__(self, data):
        self.data, self.size, self.ref = data, len(data), type("Ref", (), {"name": "ab.txn"})

    def read(self, start, end):
        assert 0 <= start <= end <= self.size
        return self.data[start:end]


def tabled(path, records, **how):
    path.unlink(missing_ok=True)
    assert write(path, records, **how) == len(records)
    return Table(PlainBlob(path.read_bytes()))


def record(value):
    return msgspec.json.encode(value)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=st.dictionaries(names, names), asked=st.lists(names), prefix=names, frame=st.integers(1, 200))
def test_a_keyed_table_is_a_sorted_dictionary(tmp_path, monkeypatch, model, asked, prefix, frame):
    """Iterating, finding and scanning agree with a dict, whatever the keys and wherever frames end."""
    monkeypatch.setattr(table, "FRAME", frame)
    expected = [(name, record(model[name])) for name in sorted(model)]
    found = tabled(tmp_path / "t", expected)
    assert len(found) == len(model)
    assert list(found) == expected
    assert found.find([*asked, *model]) == dict(expected)
    assert found.find(asked) == {name: value for name, value in expected if name in asked}
    assert list(found.scan(prefix)) == [pair for pair in expected if pair[0].startswith(prefix)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(names, min_size=1), data=st.data(), frame=st.integers(1, 200))
def test_records_come_back_by_position(tmp_path, monkeypatch, values, data, frame):
    """Any positions, in any order and repeated, give the records written there."""
    monkeypatch.setattr(table, "FRAME", frame)
    found = tabled(tmp_path / "t", [("", record(value)) for value in values], keyed=False)
    places = data.draw(st.lists(st.integers(0, len(values) - 1)))
    assert found.get_at(places) == [record(values[place]) for place in places]


def test_a_position_that_is_not_there_is_an_index_error(tmp_path):
    """Neither below zero nor past the end is anything found."""
    found = tabled(tmp_path / "t", [("a", b"1")])
    for place in (-1, 1):
        with pytest.raises(IndexError):
            found.get_at([place])


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"]])
def test_keys_that_do_not_ascend_are_refused(tmp_path, keys):
    """A table that lied about its order would lose records silently."""
    with pytest.raises(ValueError, match="ascend"):
        write(tmp_path / "t", [(key, b"1") for key in keys])


def test_a_table_without_keys_offers_no_finding(tmp_path):
    """Asking by key raises; it does not answer 'nothing'."""
    found = tabled(tmp_path / "t", [("b", b"1"), ("a", b"2")], keyed=False)
    with pytest.raises(ValueError, match="without keys"):
        found.find(["a"])


def test_a_record_over_two_lines_is_refused(tmp_path):
    """Lines are how records are told apart."""
    with pytest.raises(ValueError, match="one line"):
        write(tmp_path / "t", [("a", b'{"x":\n1}')])


def test_a_record_larger_than_a_frame_has_one_of_its_own(tmp_path):
    """Large records are whole, and their neighbours too."""
    big = record("x" * 300_000)
    found = tabled(tmp_path / "t", [("a", b"1"), ("b", big), ("c", b"3")])
    assert found.get_at([2, 1, 0]) == [b"3", big, b"1"]


def test_writing_streams(tmp_path):
    """Records are taken one at a time and frames written as they fill, not gathered."""
    path = tmp_path / "t"
    noise = random.Random(1)

    def records():
        for _ in range(200):
            yield "", record(noise.randbytes(4000).hex())
        assert path.stat().st_size > 200_000

    assert write(path, records(), keyed=False) == 200


def forged(frames, directory, count, tail=b"PST1"):
    packed = msgspec.msgpack.encode(directory)
    return frames + packed + table._FOOTER.pack(len(frames), len(packed), count, 1, tail)


def test_a_frame_that_unpacks_to_more_than_it_says_is_not_unpacked():
    """A small file cannot fill the memory: sizes are compared before anything is unpacked."""
    bomb = zstandard.ZstdCompressor().compress(b"\n" * 50_000_000)
    honest = [(0, len(bomb), 10, 0, "")]
    with pytest.raises(Corrupt, match="size"):
        Table(PlainBlob(forged(bomb, honest, 10))).get_at([0])
    with pytest.raises(Corrupt, match="directory"):
        Table(PlainBlob(forged(bomb, [(0, len(bomb), table.LARGEST + 1, 0, "")], 10)))


@pytest.mark.parametrize(
    "directory", [[(1, 4, 5, 0, "")], [(0, 4, 5, 1, "")], [(0, 5, 5, 0, "")], [(0, 4, 5, 0, ""), (0, 4, 5, 1, "")]]
)
def test_a_directory_that_does_not_fit_is_corrupt(directory):
    """Gaps, overlaps and counts that disagree are found when the table is opened."""
    with pytest.raises(Corrupt, match="directory"):
        Table(PlainBlob(forged(b"abcd", directory, 2)))


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_table_are_corrupt_and_nothing_else(data):
    """Whatever the bytes, the error is Corrupt."""
    for content in (data, data + table._FOOTER.pack(0, len(data), 3, 1, b"PST1")):
        with pytest.raises(Corrupt):
            list(Table(PlainBlob(content)))


def test_lines_are_json(tmp_path):
    """Somebody with zstd and a JSON reader can read a table without penstock."""
    write(tmp_path / "t", [("k", b'{"a":1}')])
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress((tmp_path / "t").read_bytes())
    assert json.loads(unpacked) == ["k", {"a": 1}]


def test_threads_may_share_a_table(tmp_path):
    """Eight that read at random at once each get what they asked for; a shared decompressor would crash them."""
    noise = random.Random(1)
    records = [("", record(noise.randbytes(300).hex())) for _ in range(6000)]
    shared, right = tabled(tmp_path / "t", records, keyed=False), []

    def read(seed):
        chance = random.Random(seed)
        for _ in range(60):
            wanted = [chance.randrange(6000) for _ in range(10)]
            right.append(shared.get_at(wanted) == [records[n][1] for n in wanted])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 480
