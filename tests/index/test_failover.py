"""Whatever befalls one replica, a reader answers as before, soon, and its version never goes back."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index import Reader
from penstock.index.blobs import blob, bytesource
from penstock.index.commits import log, manifest
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.segments.facets import Filter
from penstock.index.stores.store import LocalStore
from tests.fakes.unwell import ILLNESSES, Unwell
from tests.index.world import DIM, World, delta

DOCS = {"s/a": "one two three", "s/b": "four five", "s/c": "six"}
QUERIES = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)


def build(root, replicas=2, versions=2):
    home = World(root, replicas=replicas, write_quorum=replicas)
    writer = home.create()
    writer.commit(delta(0, DOCS))
    for base in range(1, versions):
        writer.commit(delta(base, {f"s/v{base}": f"seven{base} eight"}))
    writer.close()
    return home


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with two replicas and two versions. Not to be changed."""
    return build(tmp_path_factory.mktemp("made") / "home")


@pytest.fixture
def world(made, tmp_path):
    """The same, to be changed."""
    shutil.copytree(made.root, tmp_path / "home")
    return World(tmp_path / "home")


def answers(reader, k=10):
    return msgspec.json.encode(reader.search(QUERIES, k))


def refuse(line):
    raise AssertionError(line)


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def local(folder):
    return LocalStore(folder, token=refuse)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_flipped_or_file_cut_in_one_replica_changes_no_answer(made, data):
    """Before the reader opens, or while it is open: the same answer, from the other copy."""
    expected = answers(Reader.open(made.root, report=refuse))
    files = files_of(made.folder("0"))
    path = files[data.draw(st.integers(0, len(files) - 1))]
    whole = path.read_bytes()
    early = data.draw(st.booleans())
    before = Reader.open(made.root, report=refuse) if not early else None
    at = data.draw(st.integers(0, max(0, len(whole) - 1)))
    if data.draw(st.booleans()):
        os.truncate(path, at)
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :])
    try:
        for places in ([made.root], [made.folder("1"), made.folder("0")]):
            with before or Reader.open(*places, report=lambda _: None) as reader:
                assert (reader.version, answers(reader)) == (2, expected)
            before = None
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("illness", ILLNESSES)
@pytest.mark.parametrize("when", ["before opening", "while open"])
def test_an_ill_replica_delays_nobody_for_long(world, monkeypatch, illness, when):
    """Hung, slow, failing, without files, with wrong bytes: right answers, and far less than two seconds each."""
    monkeypatch.setattr("penstock.index.reading.places.GRACE", 0.4)
    expected = answers(Reader.open(world.root, report=refuse))
    stores = [Unwell(local(world.folder(name))) for name in "01"]
    stores[0].illness = illness if when == "before opening" else ""
    began = time.monotonic()
    with Reader.open(*stores, report=lambda _: None, patience=0.2) as reader:
        assert time.monotonic() - began < 2
        stores[0].illness = illness
        for _ in range(3):
            began = time.monotonic()
            assert answers(reader) == expected
            assert time.monotonic() - began < 2
        began = time.monotonic()
        assert reader.refresh() is False
        assert time.monotonic() - began < 2
    stores[0].cured.set()


def test_problems_are_told_by_replica(world):
    """Each replica's lines are under its name, also when the log was told only once."""
    stores = [Unwell(local(world.folder(name))) for name in "01"]
    stores[1].illness = "failing"
    lines = []
    with Reader.open(*stores, report=lines.append) as reader:
        for _ in range(3):
            reader.refresh()
        assert len(lines) == len(set(lines))
        assert set(reader.problems()) == {stores[1].name}
        assert "connection refused" in reader.problems()[stores[1].name][0]


def test_a_file_that_never_opens_holds_up_nothing(world):
    """A real hang: pipes that nobody writes to, where a log record and a blob should be; the process ends too."""
    expected = answers(Reader.open(world.root, report=refuse))
    for path in (*world.folder("0").glob("log/*"), *world.folder("0").glob("blobs/*/*")):
        path.unlink()
        os.mkfifo(path)
    code = f"""
import sys, time, numpy, msgspec
from penstock.index import Reader
queries = numpy.random.default_rng(1).standard_normal((4, {DIM})).astype(numpy.float32)
began = time.monotonic()
with Reader.open({str(world.root)!r}, report=lambda _: None) as reader:
    sys.stdout.write(msgspec.json.encode(reader.search(queries, 10)).decode())
print(time.monotonic() - began, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, expected.decode())
    assert float(done.stderr) < 10


def test_stores_paths_and_file_urls_mix(world):
    """A home, a path, a URL of a file and a store are all places; URLs of nothing known are refused by name."""
    expected = answers(Reader.open(world.root, report=refuse))
    zero, one = world.folder("0"), world.folder("1")
    for places in ([str(zero), one.as_uri()], [Unwell(local(zero)), one], [world.root.as_uri()], [local(one)]):
        with Reader.open(*places, report=refuse) as reader:
            assert answers(reader) == expected
    with pytest.raises(WrongIndex, match="ftp"):
        Reader.open(zero, "ftp://host/index", report=refuse)


def test_a_home_says_where_its_replicas_are(world, tmp_path):
    """`home.json` may name them: by a path within the home, or anywhere else."""
    expected = answers(Reader.open(world.root, report=refuse))
    shutil.move(world.folder("0"), tmp_path / "elsewhere")
    shutil.move(world.folder("1"), world.root / "within")
    shutil.rmtree(world.root / "replicas")
    said = {"format": 2, "replicas": {"0": str(tmp_path / "elsewhere"), "1": "within"}}
    (world.root / "home.json").write_bytes(msgspec.json.encode(said))
    for _ in range(2):
        with Reader.open(world.root, report=lambda _: None) as reader:
            assert answers(reader) == expected
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)


def test_a_version_whose_manifest_is_lost_is_passed_over(world):
    """When no replica has it whole, the version before is served, and that is said."""
    newest = Reader.open(world.root, report=refuse).manifest
    parent = newest.parent
    names = {log.read(local(world.folder("0")), 2, newest.epoch).manifest.name}
    for path in itertools.chain(*(world.folder(name).glob("blobs/*/*") for name in "01")):
        if path.name in names:
            path.write_bytes(b"torn")
    lines = []
    with Reader.open(world.root, report=lines.append) as reader:
        assert reader.version == 1
        assert any("version 2" in line for line in lines)
        record = log.read(local(world.folder("0")), 1, newest.epoch)
        assert record.manifest.name == parent


def put_record(world, name, version, epoch, base):
    """Publish on one replica a record of `version` under `epoch`, with a manifest like `base`."""
    store = local(world.folder(name))
    store._token = iter(map(str, itertools.count(hash((name, version, epoch)) % 10**9))).__next__
    part = world.root / "part"
    part.write_bytes(manifest.encode(msgspec.structs.replace(base, version=version, epoch=epoch, txn=f"e{epoch}")))
    ref = blob.seal(part, f"e{epoch}-{version}")
    store.put_if_absent(blob.key(ref), part)
    record = log.LogRecord(1, base.lineage, version, epoch, f"id{epoch}", f"e{epoch}", ref, 9e9 + version)
    store.put_if_absent(log.key(version, epoch), log.encode(record))


def seen(reader):
    return reader.version, reader.manifest.epoch


def test_records_that_a_later_epoch_gave_up_are_passed_over(world):
    """Whatever their number: the history is that of the highest epoch, and before its first version the one below."""
    base = Reader.open(world.root, report=refuse).manifest
    put_record(world, "0", 3, 1, base)
    put_record(world, "0", 4, 1, base)
    assert seen(Reader.open(world.root, report=refuse)) == (4, 1)
    put_record(world, "1", 3, 2, base)
    for places in ([world.root], [world.folder("1"), world.folder("0")], [world.folder("0"), world.folder("1")]):
        assert seen(Reader.open(*places, report=lambda _: None)) == (3, 2)
    assert seen(Reader.open(world.folder("0"), report=refuse)) == (4, 1)


def test_a_version_never_goes_back_and_at_equal_version_the_higher_epoch_wins(world):
    """A reader on a history that was given up stays until the new one has come as far."""
    base = Reader.open(world.root, report=refuse).manifest
    put_record(world, "0", 3, 1, base)
    put_record(world, "0", 4, 1, base)
    reader = Reader.open(world.root, report=lambda _: None)
    put_record(world, "1", 3, 2, base)
    assert reader.refresh() is False
    assert seen(reader) == (4, 1)
    put_record(world, "1", 4, 2, base)
    assert reader.refresh() is True
    assert seen(reader) == (4, 2)
    put_record(world, "0", 5, 1, base)
    assert reader.refresh() is False
    assert seen(reader) == (4, 2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_version_never_falls_whatever_can_be_seen(made, tmp_path_factory, data):
    """Records of several epochs on either replica, replicas hidden and shown again: (version, epoch) only grows."""
    root = tmp_path_factory.mktemp("epochs") / "home"
    shutil.copytree(made.root, root)
    world = World(root)
    base = Reader.open(world.root, report=refuse).manifest
    stores = [Unwell(local(world.folder(name))) for name in "01"]
    reader = Reader.open(*stores, report=lambda _: None)
    at = seen(reader)
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.booleans()):
            stores[data.draw(st.integers(0, 1))].illness = data.draw(st.sampled_from(["", "failing"]))
        put_record(
            world, data.draw(st.sampled_from("01")), data.draw(st.integers(2, 6)), data.draw(st.integers(1, 3)), base
        )
        went = reader.refresh()
        assert seen(reader) >= at
        assert went == (seen(reader) > at)
        at = seen(reader)
    reader.close()


def test_a_replica_of_another_index_is_passed_over_by_an_open_reader(world, tmp_path):
    """A reader knows whose index it reads: a stranger in a replica's place does not stop it from going on."""
    other = build(tmp_path / "other")
    reader = Reader.open(world.folder("0"), world.folder("1"), report=lambda _: None)
    writer = world.open()
    writer.commit(delta(2, {"s/d": "nine"}))
    writer.close()
    shutil.rmtree(world.folder("0"))
    shutil.copytree(other.folder("0"), world.folder("0"))
    assert reader.refresh() is True
    assert reader.version == 3
    assert any("another index" in line for line in reader.problems()[str(world.folder("0"))])


def test_nothing_published_is_only_said_when_all_could_be_asked(tmp_path):
    """An index without a commit is empty; one whose replica does not answer is unknown."""
    home = World(tmp_path / "home")
    home.create().close()
    stores = [Unwell(local(home.folder(name))) for name in "01"]
    assert Reader.open(*stores, report=refuse).version == 0
    stores[0].illness = "failing"
    with pytest.raises(Unavailable, match="connection refused"):
        Reader.open(*stores, report=lambda _: None)


def test_searches_run_on_through_many_versions(world):
    """Versions come while four threads search: no search fails or sees two versions, and no descriptor leaks."""
    assert answers(Reader.open(world.root, report=refuse))
    reader = Reader.open(world.root, report=refuse)
    start = descriptors()
    done, wrong = threading.Event(), []

    def search():
        while not done.is_set():
            texts = {hit.text for hit in reader.search(QUERIES[:1], 100)[0]}
            marks = {text for text in texts if text.startswith("mark")}
            if len(marks) > 1 or not {"one", "two", "three"} <= texts:
                wrong.append(texts)
            time.sleep(0.001)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    writer = world.open()
    for base in range(2, 8):
        writer.commit(delta(base, {"s/m": f"mark{base}"}))
        assert reader.refresh() is True
    done.set()
    for thread in threads:
        thread.join()
    writer.close()
    assert wrong == []
    assert descriptors() <= start + 2 * 6 + 4
    reader.close()
    assert descriptors() <= start
    with pytest.raises(ValueError, match="closed"):
        reader.search(QUERIES)


def test_refreshing_many_times_keeps_no_file(world, monkeypatch):
    """Files that no version needs any more are let go of: here each version replaces the one document."""
    monkeypatch.setattr(blob, "_HELD", 0)
    writer = world.open()
    reader = Reader.open(world.root, report=refuse)
    answers(reader)
    sizes = []
    for base in range(2, 10):
        writer.commit(delta(base, {"s/m": f"mark{base}"}))
        assert reader.refresh() is True
        answers(reader)
        sizes.append(descriptors() - 2 * len(reader.manifest.spaces["default"].segments))
    writer.close()
    assert max(sizes) - min(sizes) <= 2
    reader.close()
    assert not bytesource.FileSource._kept


def test_closing_breaks_no_search_that_runs(world, monkeypatch):
    """A search that began before `close` ends with its answer; the files go when it has ended."""
    monkeypatch.setattr(blob, "_HELD", 0)
    expected = answers(Reader.open(world.root, report=refuse))
    gc.collect()
    before = descriptors()
    reader = Reader.open(world.root, report=refuse)
    with reader._leased() as served:
        reader.close()
        reader.close()
        assert descriptors() > before
        found = served.segments(None)
        assert sorted(row.text for segment in found for row in segment.live_rows())
    assert descriptors() == before
    assert expected


def test_files_that_are_gone_make_the_reader_go_on(world, monkeypatch):
    """Nothing held open, the old version's files collected: the same search answers from the newest version."""
    monkeypatch.setattr(blob, "_HELD", 0)
    monkeypatch.setattr(bytesource, "MOST", 0)
    lines = []
    reader = Reader.open(world.root, report=lines.append)
    writer = world.open()
    writer.commit(delta(2, {"s/new": "fresh words"}))
    writer.close()
    full = Reader.open(world.root, report=refuse).manifest
    space = full.spaces["default"]
    compacted = msgspec.structs.replace(
        full, spaces={"default": msgspec.structs.replace(space, segments=space.segments[-1:])}
    )
    for name in "01":
        put_record(world, name, 4, full.epoch, compacted)
    needed = manifest.closure(compacted).keys() | {
        log.read(local(world.folder("0")), 4, full.epoch).manifest.name,
    }
    for path in itertools.chain(*(world.folder(name).glob("blobs/*/*") for name in "01")):
        if path.name not in needed:
            path.unlink()
    assert reader.version == 2
    texts = {hit.text for hit in reader.search(QUERIES[:1], 100)[0]}
    assert texts == {"fresh", "words"}
    assert reader.version == 4
    assert any("opening the newest version anew" in line for line in lines)


def test_files_that_are_held_open_outlive_their_names(world, monkeypatch):
    """What is held open stays readable when the names are gone: the version in service is served on."""
    monkeypatch.setattr(blob, "_HELD", 0)
    expected = answers(Reader.open(world.root, report=refuse))
    reader = Reader.open(world.root, report=refuse)
    for name in "01":
        shutil.rmtree(world.folder(name) / "blobs")
    assert answers(reader) == expected


def test_a_reader_follows_by_itself(world):
    """With `refresh_seconds` a new version is served without a call; the thread ends with the reader."""
    turns, go = [], threading.Semaphore(0)

    def sleep(seconds):
        turns.append(seconds)
        go.acquire()

    reader = Reader.open(world.root, report=refuse, refresh_seconds=7.0, sleep=sleep)
    writer = world.open()
    writer.commit(delta(2, {"s/d": "nine"}))
    writer.close()
    assert reader.version == 2
    go.release()
    until = time.monotonic() + 60
    while reader.version == 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert reader.version == 3
    assert set(turns) == {7.0}
    thread = next(one for one in threading.enumerate() if one.name == "penstock-refresh")
    reader.close()
    go.release()
    thread.join(60)
    assert not thread.is_alive()


def test_a_filter_narrows_and_exact_agrees(world):
    """`where` lets through what it says; `exact` gives the same where all is exact."""
    with Reader.open(world.root, report=refuse) as reader:
        everything = reader.search(QUERIES, 100)
        assert reader.search(QUERIES, 100, exact=True) == everything
        assert reader.search(QUERIES, 100, where=Filter(sources=frozenset({"s"}))) == everything
        assert reader.search(QUERIES, 100, where=Filter(sources=frozenset({"other"}))) == [[]] * 4
        assert reader.search(QUERIES, 100, where=Filter(labels=frozenset({"secret"}))) == [[]] * 4


def test_a_cache_lets_a_reader_search_without_its_stores(world, tmp_path):
    """Blocks of stores without files are kept in a folder, and used by the next reader; damage to it harms nobody."""
    expected = answers(Reader.open(world.root, report=refuse))
    asked = []
    for turn in range(3):
        stores = [Unwell(local(world.folder(name))) for name in "01"]
        with Reader.open(*stores, report=refuse, cache=tmp_path / "cache") as reader:
            assert answers(reader) == expected
        asked.append(sum(store.asked for store in stores))
        if turn == 1:
            for path in files_of(tmp_path / "cache"):
                path.write_bytes(path.read_bytes()[:-1])
    assert asked[0] > asked[1]
    assert asked[2] >= asked[0]
