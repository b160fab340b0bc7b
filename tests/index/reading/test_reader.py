"""A reader needs only files, trusts none of them, and answers the same from every copy."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from penstock.index import Reader
from penstock.index.blobs import blob
from penstock.index.commits import log, manifest, markers
from penstock.index.errors import IndexFault, NotRetained, Unavailable, WrongIndex
from penstock.index.types import FORMAT
from tests.index.world import DIM, World, delta

DOCS = {"s/a": "one two three", "s/b": "four five", "s/c": "six"}


@pytest.fixture
def world(tmp_path):
    """A home with two replicas and three versions: added, deleted and changed, added."""
    home = World(tmp_path / "home")
    writer = home.create()
    writer.commit(delta(0, DOCS))
    writer.commit(delta(1, {"s/b": None, "s/c": "six seven"}))
    writer.commit(delta(2, {"s/d": "eight nine"}))
    writer.close()
    return home


QUERIES = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)


def answers(reader, k=10):
    return msgspec.json.encode(reader.search(QUERIES, k))


def refuse(line):
    raise AssertionError(line)


def test_a_reader_finds_what_is_live_and_only_that(world):
    """Rows of deleted and replaced documents are gone; hits carry their text, best first."""
    with Reader.open(world.root, report=refuse) as reader:
        assert reader.version == reader.manifest.version == 3
        for hits in reader.search(QUERIES, 100):
            assert sorted(hit.text for hit in hits) == sorted(["one", "two", "three", "six", "seven", "eight", "nine"])
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert [state.uri for state in reader.states()] == ["s/a", "s/c", "s/d"]
        assert list(reader.states("other")) == []
        assert len(reader.search(QUERIES[:1], 2)[0]) == 2


def test_every_replica_gives_the_same_answer(world):
    """A home, its replicas and either replica alone answer alike, byte for byte."""
    places = [[world.root], [world.folder("0")], [world.folder("1")], [world.folder("1"), world.folder("0")]]
    assert len({answers(Reader.open(*place, report=refuse)) for place in places}) == 1


def test_one_replica_may_be_gone(world):
    """With one directory deleted the other answers, named or found."""
    expected = answers(Reader.open(world.root, report=refuse))
    shutil.rmtree(world.folder("0"))
    assert answers(Reader.open(world.root, report=refuse)) == expected
    lines = []
    assert answers(Reader.open(world.folder("0"), world.folder("1"), report=lines.append)) == expected
    assert len(lines) == 1 and "is not there" in lines[0]


def test_why_no_replica_can_be_read_is_said_once(world):
    """In the error, that names each; nobody promises to read another one."""
    stores, lines = list(world.stores().values()), []
    shutil.rmtree(world.root / "replicas")
    with pytest.raises(Unavailable) as raised:
        Reader.open(*stores, report=lines.append)
    assert lines == [] and all(str(raised.value).count(store.name) == 1 for store in stores)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_any_damage_to_one_replica_changes_no_answer(world, damage):
    """Whichever file of one replica is flipped, cut, emptied or deleted: the same answer, and states."""
    clean = Reader.open(world.root, report=refuse)
    expected, states = answers(clean), list(clean.states())
    rng = random.Random(damage)
    for path in files_of(world.folder("0")):
        good = path.read_bytes()
        spoil(path, damage, rng)
        lines = []
        reader = Reader.open(world.root, report=lines.append)
        assert (reader.version, answers(reader), list(reader.states())) == (3, expected, states), path
        reader.close()
        path.write_bytes(good)


def spoil(path, damage, rng):
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        os.truncate(path, rng.randrange(len(data)))
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


@pytest.mark.parametrize("seed", range(40))
def test_damage_everywhere_is_an_error_or_the_right_answer(world, seed):
    """One replica alone, one bit flipped: never a wrong answer, never a crash."""
    expected = answers(Reader.open(world.root, report=refuse))
    rng = random.Random(seed)
    newest = manifest_of(world)
    needed = [*(blob.key(ref) for ref in manifest.closure(newest).values()), log.key(3, newest.epoch)]
    spoil(world.folder("0") / rng.choice(needed), "flip", rng)
    try:
        with Reader.open(world.folder("0"), report=lambda _: None) as reader:
            assert reader.version < 3 or answers(reader) == expected
    except IndexFault as fault:
        assert "\n" not in str(fault)


def manifest_of(world):
    return Reader.open(world.root, report=refuse).manifest


def test_refresh_goes_on_and_never_back(world):
    """A new version is served after refresh, the old one before; an older replica never wins."""
    reader = Reader.open(world.root, report=refuse)
    before = answers(reader, 100)
    old = world.root.with_name("old")
    shutil.copytree(world.root / "replicas", old / "replicas")
    assert reader.refresh() is False
    writer = world.open()
    writer.commit(delta(3, {"s/a": None, "s/e": "ten"}))
    writer.close()
    assert answers(reader, 100) == before
    assert reader.refresh() is True
    assert reader.version == 4
    texts = {hit.text for hit in reader.search(QUERIES[:1], 100)[0]}
    assert texts == {"six", "seven", "eight", "nine", "ten"}
    shutil.rmtree(world.root / "replicas")
    shutil.move(old / "replicas", world.root / "replicas")
    assert reader.refresh() is False
    assert reader.version == 4


def test_a_version_is_served_on_when_every_store_is_gone(world):
    """Even before the first search: what was opened can be read, and refresh says what is wrong."""
    expected = answers(Reader.open(world.root, report=refuse))
    lines = []
    reader = Reader.open(world.root, report=lines.append)
    shutil.rmtree(world.root / "replicas")
    assert reader.refresh() is False
    assert answers(reader) == expected
    assert len(lines) == 1 and "still serving version 3" in lines[0]


def test_where_no_index_is_the_place_is_named(tmp_path):
    """An empty folder, no folder, a file: one line that names it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "nowhere"):
        with pytest.raises(WrongIndex, match=f"{name}: there is no index here"):
            Reader.open(tmp_path / name, report=refuse)
        assert not (tmp_path / "nowhere").exists()


def test_an_index_without_a_commit_is_empty(tmp_path):
    """Made and never committed to: version 0, no hits, and refresh finds the first commit."""
    home = World(tmp_path / "home")
    writer = home.create()
    reader = Reader.open(home.root, report=refuse)
    assert reader.version == 0
    assert reader.search(QUERIES, 3) == [[], [], [], []]
    assert list(reader.states()) == []
    writer.commit(delta(0, DOCS))
    assert reader.refresh() is True
    assert reader.version == 1
    writer.close()


def test_replicas_of_two_indexes_are_refused(world, tmp_path):
    """Answers of two indexes are never mixed; a refresh onto another index keeps the one in hand."""
    other = World(tmp_path / "other")
    writer = other.create()
    for base in range(5):
        writer.commit(delta(base, {"s/x": f"other {base}"}))
    writer.close()
    with pytest.raises(WrongIndex, match="different indexes"):
        Reader.open(world.folder("0"), other.folder("1"), report=refuse)
    lines = []
    reader = Reader.open(world.root, report=lines.append)
    shutil.rmtree(world.root / "replicas")
    shutil.copytree(other.root / "replicas", world.root / "replicas")
    assert reader.refresh() is False
    assert (reader.version, len(lines)) == (3, 1)


def test_a_newer_format_is_refused(world):
    """A manifest from a later penstock says so; an older version is not served in its place."""
    head = msgspec.structs.replace(manifest_of(world), format=FORMAT + 1, version=4)
    path = world.root / "part"
    path.write_bytes(manifest.encode(head))
    ref = blob.seal(path, "later")
    for name, store in world.stores().items():
        store.put_if_absent(blob.key(ref), path)
        lineage = markers.replica(store).lineage
        record = log.LogRecord(FORMAT, lineage, 4, head.epoch, "e", "later", ref, 9e9)
        store.put_if_absent(log.key(4, head.epoch), log.encode(record))
        with pytest.raises(WrongIndex, match="upgrade penstock"):
            Reader.open(world.folder(name), report=refuse)


def test_an_unknown_space_and_a_wrong_width_are_refused(world):
    """The message says which spaces there are, and how wide the vectors must be."""
    with Reader.open(world.root, report=refuse) as reader:
        with pytest.raises(ValueError, match="there are: default"):
            reader.search(QUERIES, space="other")
        with pytest.raises(ValueError, match=f"{DIM}"):
            reader.search(QUERIES[:, :3])


def test_a_reader_changes_nothing(world):
    """Opening and searching leave every file as it was, and make none."""
    before = {path: path.read_bytes() for path in files_of(world.root)}
    with Reader.open(world.root, report=refuse) as reader:
        reader.search(QUERIES)
    assert {path: path.read_bytes() for path in files_of(world.root)} == before


def test_a_reader_loads_neither_torch_nor_prefect_nor_sqlalchemy(world):
    """The base install reads: nothing heavier is imported, and `import penstock.index` alone costs nothing."""
    code = f"""
import sys, penstock.index
assert 'numpy' not in sys.modules and 'msgspec' not in sys.modules
import numpy
from penstock.index import Reader, Hit
with Reader.open({str(world.root)!r}) as reader:
    assert isinstance(reader.search(numpy.ones((1, {DIM}), numpy.float32))[0][0], Hit)
heavy = 'torch transformers prefect sqlalchemy tokenizers pydantic httpx obstore psycopg pyarrow'.split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_of_three_replicas_the_stranger_is_passed_over(tmp_path):
    """Most of them say whose index it is; of two, the caller must."""
    mine, other = World(tmp_path / "mine", replicas=3), World(tmp_path / "other")
    for world, word in ((mine, "mine"), (other, "other")):
        with world.create() as writer:
            writer.commit(delta(0, {"s/a": word}))
    shutil.rmtree(mine.folder("2"))
    shutil.copytree(other.folder("1"), mine.folder("2"))
    said = []
    with Reader.open(*(mine.folder(n) for n in "012"), report=said.append) as reader:
        lineage = reader.manifest.lineage
    assert any("holds another index" in line for line in said)
    with pytest.raises(WrongIndex, match="different indexes"):
        Reader.open(mine.folder("0"), mine.folder("2"))
    with Reader.open(mine.folder("0"), mine.folder("2"), lineage=lineage) as reader:
        assert reader.manifest.lineage == lineage


def test_a_reader_of_one_version_stays_with_it(world):
    """Exactly what was served then, however the index goes on; refresh does not move it."""
    first = answers(Reader.open(world.root, report=refuse, version=1), 100)
    texts = {hit.text for hit in Reader.open(world.root, report=refuse, version=1).search(QUERIES[:1], 100)[0]}
    assert texts == {"one", "two", "three", "four", "five", "six"}
    with Reader.open(world.root, report=refuse, version=2) as reader:
        assert reader.version == 2
        before = answers(reader, 100)
        writer = world.open()
        writer.commit(delta(3, {"s/e": "ten"}))
        writer.close()
        assert reader.refresh() is False
        assert (reader.version, answers(reader, 100)) == (2, before)
    assert answers(Reader.open(world.root, report=refuse, version=1), 100) == first


def test_a_damaged_copy_of_that_version_is_read_elsewhere(world):
    """Damage does not bring it to another version either: the other replica has the same."""
    expected = answers(Reader.open(world.root, report=refuse, version=2), 100)
    for path in sorted((world.root / "replicas/0/blobs").rglob("*.*")):
        path.write_bytes(b"spoiled")
    with Reader.open(world.root, report=lambda line: None, version=2) as reader:
        assert (reader.version, answers(reader, 100)) == (2, expected)


def test_a_version_that_is_not_kept_is_named(world):
    """One that never was, or has expired, is no other version; where it cannot be known, that is what is said."""
    with pytest.raises(NotRetained, match="version 9"):
        Reader.open(world.root, report=refuse, version=9)
    for path in (world.root / "replicas").glob("*/log/*1.*"):
        path.unlink()
    with pytest.raises(NotRetained, match="version 1"):
        Reader.open(world.root, report=refuse, version=1)


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (3, 3), (7, 7), (100, 7)])
def test_a_sample_is_evenly_spaced_and_always_the_same(world, most, expected):
    """Live chunks of all segments, each once, each with its own vector."""
    with Reader.open(world.root, report=refuse) as reader:
        found = reader.sample(most)
        assert [passage.row for passage in reader.sample(most)] == [passage.row for passage in found]
        assert len({passage.row.chunk_id for passage in found}) == len(found) == expected
        for passage in found:
            assert reader.search(passage.vector[None, :], 1)[0][0].chunk_id == passage.row.chunk_id
