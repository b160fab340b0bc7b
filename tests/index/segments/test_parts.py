"""Whatever a segment's kind, and however much of it is in memory, a search of it answers like brute force."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.segments import segment as segments
from penstock.index.segments.facets import Filter
from penstock.index.segments.parts import Held, Probed, Window
from penstock.index.segments.search import top_k
from penstock.index.segments.segment import Segment, VectorMemory
from tests.index.shelf import Shelf, brute, refuse, rows_of, unit

FILTERS = st.builds(
    Filter,
    metadata=st.dictionaries(
        st.sampled_from(["year", "x:y", "none"]),
        st.lists(st.sampled_from(["2000", "2001", "1"]), max_size=2).map(tuple),
    ),
    labels=st.none() | st.frozensets(st.sampled_from(["a", "b", "z"])),
    sources=st.none() | st.frozensets(st.sampled_from(["s0", "s1"])),
)


@pytest.fixture(scope="module")
def no_small_print():
    """IVF segments are probed however small they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "EXACT_BELOW", 1)
        yield


@pytest.mark.usefixtures("no_small_print")
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    kinds=st.lists(st.sampled_from(["held", "streamed", "ivf", "ivf by scan"]), min_size=1, max_size=3),
    k=st.sampled_from([9, 40]),
    dead=st.sampled_from([0.0, 0.4, 1.0]),
    where=st.none() | FILTERS,
    distinct=st.sampled_from([3, 10_000]),
)
def test_all_kinds_answer_like_brute_force(seed, kinds, k, dead, where, distinct):
    """Held, streamed, probed in all its lists, scanned: the live rows that the filter lets through, bit by bit."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        opened, plain = [], []
        for number, kind in enumerate(kinds):
            vectors = unit(distinct, 16, seed % 1000)[rng.integers(0, distinct, rng.integers(16, 60))]
            rows = rows_of(len(vectors), source=f"s{number}", rng=rng)
            gone = np.flatnonzero(rng.random(len(vectors)) < dead)
            trained = shelf.train(vectors) if kind.startswith("ivf") else None
            ref = shelf.build(vectors, rows, gone, trained=trained)
            opened.append(shelf.open(ref, 0 if kind == "streamed" else 1 << 30))
            plain.append((vectors, rows, set(gone.tolist())))
        queries = unit(3, 16, seed % 997)
        exact = "ivf by scan" in kinds
        found = top_k(opened, queries, k, where=where, exact=exact)
        got = [[(match.row.chunk_id, match.score) for match in answer] for answer in found]
        assert got == [brute(plain, query, k, where) for query in queries]
        for one in opened:
            one.close()


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def kinds(segment, where=None, exact=False):
    return {type(part) for part in segment.parts(where, exact)}


def test_flat_segments_are_held_while_there_is_room(shelf):
    """The budget is shared: what does not fit is streamed, and closing a segment makes room for another."""
    refs = [shelf.build(unit(50, 16, n), rows_of(50)) for n in range(3)]
    memory = VectorMemory(2 * 4000)
    opened = [Segment(ref, [shelf.store], refuse, memory) for ref in refs]
    assert [kinds(segment) for segment in opened] == [{Held}, {Held}, {Window}]
    assert memory.held == 2 * (50 * 16 * 4 + 45)
    opened[0].close()
    assert kinds(opened[2]) == {Held}
    del opened
    assert memory.held == 0


def test_streaming_goes_on_while_another_thread_finds_room(shelf):
    """A search that reads a segment's file is not disturbed when the segment is taken into memory meanwhile."""
    vectors = unit(600, 512)
    memory = VectorMemory(0)
    segment = Segment(shelf.build(vectors, rows_of(600)), [shelf.store], refuse, memory)
    streaming = iter(segment.parts())
    first = next(streaming)
    memory.limit = 1 << 30
    assert kinds(segment) == {Held}
    assert first.count + sum(part.count for part in streaming) == 600


def test_an_ivf_segment_is_probed_unless_few_rows_are_wanted(shelf, monkeypatch):
    """Few live rows that a filter lets through, or `exact`: then its raw vectors are scanned."""
    vectors = unit(300, 16)
    ref = shelf.build(vectors, rows_of(300, rng=np.random.default_rng(1)), [1, 2], trained=shelf.train(vectors))
    segment = shelf.open(ref)
    monkeypatch.setattr(segments, "EXACT_BELOW", 250)
    assert kinds(segment) == {Probed}
    assert kinds(segment, exact=True) == {Window}
    assert kinds(segment, Filter(metadata={"year": ("2001",)})) == {Window}
    assert kinds(segment, Filter(metadata={"x:y": ("1",)})) == {Probed}
    assert kinds(segment, Filter(labels=frozenset())) == set()
    assert segment.take([5, 1]).tolist() == vectors[[5, 1]].tolist()
    assert segment.vectors.tolist() == vectors.tolist()


def test_every_opening_probes_alike(shelf, monkeypatch):
    """The same answers after opening again, and from another shelf."""
    monkeypatch.setattr(segments, "EXACT_BELOW", 1)
    vectors = unit(3000, 16)
    ref = shelf.build(vectors, rows_of(3000), range(0, 3000, 7), trained=shelf.train(vectors[:1000]))
    first, again = (top_k([shelf.open(ref)], unit(20, 16, 9), 10) for _ in range(2))
    assert first == again and all(len(found) == 10 for found in first)


def test_damaged_codes_are_never_searched(shelf):
    """A flipped bit in an IVF segment's index is seen before FAISS is; the same for its raw vectors."""
    vectors = unit(3000, 16)
    ref = shelf.build(vectors, rows_of(3000), trained=shelf.train(vectors[:1000]))
    for blob in (ref.index, ref.vectors):
        path = shelf.store.local_path(f"blobs/{blob.name[:2]}/{blob.name}")
        good = path.read_bytes()
        path.write_bytes(good[:20000] + bytes([good[20000] ^ 1]) + good[20001:])
        with pytest.raises(Corrupt):
            top_k([Segment(ref, [shelf.store], lambda _: None)], vectors[:1], 5)
        path.write_bytes(good)
    assert top_k([shelf.open(ref)], vectors[:1], 1)[0][0].row.chunk_id == rows_of(1)[0].chunk_id


def test_a_vectors_file_of_another_size_is_corrupt(shelf):
    """A manifest that pairs an IVF segment with other raw vectors is caught before it answers."""
    vectors = unit(3000, 16)
    ref = shelf.build(vectors, rows_of(3000), trained=shelf.train(vectors[:1000]))
    other = shelf.build(unit(20, 16), rows_of(20))
    with pytest.raises(Corrupt, match="3000 vectors"):
        top_k([shelf.open(msgspec.structs.replace(ref, vectors=other.index))], vectors[:1], 5)


def test_a_kind_from_the_future_is_refused(shelf):
    """One line that says what to do, and nothing is searched by half."""
    ref = shelf.build(unit(20, 16), rows_of(20))
    with pytest.raises(WrongIndex, match="upgrade"):
        shelf.open(msgspec.structs.replace(ref, kind="graph"))


def test_threads_may_share_a_segment(shelf, monkeypatch):
    """Many threads that search at once, from the first query on, all get the same answers."""
    monkeypatch.setattr(segments, "EXACT_BELOW", 1)
    vectors = unit(2000, 16)
    refs = [shelf.build(vectors, rows_of(2000)), shelf.build(vectors, rows_of(2000), trained=shelf.train(vectors))]
    expected = top_k([shelf.open(ref) for ref in refs], unit(4, 16, 5), 10)
    opened, answers = [shelf.open(refs[0], 0), shelf.open(refs[1])], []
    threads = [threading.Thread(target=lambda: answers.append(top_k(opened, unit(4, 16, 5), 10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 8
