"""The spool: what is in it survives a kill, and what is torn is seen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.flows.spools.shard_writer import FILES, JOURNAL
from penstock.flows.spools.spool import Shard, ShardWriter, VectorLog, closed, leftovers
from penstock.index.types import DocState, DocText, Row


def fill(directory: Path, documents: int = 3) -> Shard:
    writer = ShardWriter(directory, "s", "fingerprint")
    for number in range(documents):
        uri = f"s/{number}"
        rows = [(Row(f"id{number}-{n}", uri, f"text {n}", 0, 6, 3), [101, n, 102]) for n in range(2)]
        writer.add(DocState(uri, "s", "indexed", chunks=2), DocText(uri, "c", "text"), rows)
    return closed(writer)


def test_a_closed_shard_says_what_was_put_in(tmp_path: Path) -> None:
    """States, texts, rows and ids come back in order."""
    shard = fill(tmp_path / "shard-1")
    assert [state.uri for state in shard.states()] == ["s/0", "s/1", "s/2"]
    assert [row.chunk_id for row in shard.rows()][:2] == ["id0-0", "id0-1"]
    assert [list(ids) for ids in shard.ids()][:2] == [[101, 0, 102], [101, 1, 102]]
    assert (shard.marker.chunks, shard.marker.tokens) == (6, 18)


def test_a_shard_without_its_marker_is_removed(tmp_path: Path) -> None:
    """What was being filled when its process died does not count."""
    writer = ShardWriter(tmp_path / "shard-1", "s", "f")
    writer.lock.release()
    assert list(leftovers(tmp_path)) == []
    assert not (tmp_path / "shard-1").exists()


def unfinished(directory: Path, documents: int = 3) -> None:
    """What a killed process leaves: everything it wrote, no marker, no lock."""
    writer = ShardWriter(directory, "s", "fingerprint")
    for number in range(documents):
        rows = [(Row(f"id{number}-{n}", f"s/{number}", f"text {n}", 0, 6, 3), [101, n, 102]) for n in range(2)]
        writer.add(DocState(f"s/{number}", "s", "indexed", chunks=2), DocText(f"s/{number}", "c", "text"), rows)
    writer.lock.release()


def test_what_a_killed_process_had_prepared_is_taken_over(tmp_path: Path) -> None:
    """No document that was written whole has to be fetched again."""
    unfinished(tmp_path / "shard-1")
    [shard] = leftovers(tmp_path)
    assert [state.uri for state in shard.states()] == ["s/0", "s/1", "s/2"]
    assert (shard.marker.source, shard.marker.fingerprint) == ("s", "fingerprint")
    assert (shard.marker.chunks, shard.marker.tokens) == (6, 18)
    shard.release()
    [again] = leftovers(tmp_path)
    assert again.marker == shard.marker


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([*FILES, JOURNAL]), cut=st.floats(0, 1), flip=st.booleans())
def test_of_a_torn_shard_only_whole_documents_are_taken(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: float, flip: bool
) -> None:
    """Whatever a file lost or holds instead: what comes back is a beginning of what was written, each byte of it."""
    spool = tmp_path_factory.mktemp("spool")
    unfinished(spool / "shard-1")
    path = spool / "shard-1" / name
    data = bytearray(path.read_bytes())
    at = min(int(cut * len(data)), len(data) - 1)
    if flip:
        data[at] ^= 0xFF
    else:
        del data[at:]
    path.write_bytes(data)
    for shard in leftovers(spool):
        states = list(shard.states())
        assert [state.uri for state in states] == [f"s/{number}" for number in range(len(states))]
        assert [row.chunk_id for row in shard.rows()] == [f"id{i // 2}-{i % 2}" for i in range(2 * len(states))]
        assert [list(ids) for ids in shard.ids()] == [[101, i % 2, 102] for i in range(2 * len(states))]
        assert [text.text for text in shard.texts()] == ["text"] * len(states)
        shard.release()


def test_a_shard_that_is_just_being_made_is_nobodys_leftover(tmp_path: Path) -> None:
    """Another run that looks for leftovers never takes a directory away from whoever makes it."""
    (tmp_path / "shard-0").mkdir()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for shard in leftovers(tmp_path):
                shard.lock.release()

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for number in range(300):
                shard = fill(tmp_path / f"shard-{number + 1}", documents=1)
                assert len(list(shard.states())) == 1
                shard.discard()
        finally:
            done.set()
        looking.result()


@pytest.mark.parametrize("name", ["rows.jsonl", "ids.u32", "states.jsonl", "shard.json"])
def test_a_damaged_shard_is_removed(tmp_path: Path, name: str) -> None:
    """A shard whose bytes are not what its marker says is prepared again, never trusted."""
    fill(tmp_path / "shard-1").lock.release()
    target = tmp_path / "shard-1" / name
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 0x20
    target.write_bytes(data)
    assert list(leftovers(tmp_path)) == []


def test_a_shard_that_another_process_works_on_is_left_alone(tmp_path: Path) -> None:
    """A living holder keeps its shard; a killed one leaves it to the next run."""
    fill(tmp_path / "shard-1").lock.release()
    script = (
        "import sys,pathlib;from penstock.flows.spools.spool import leftovers;"
        "s=list(leftovers(pathlib.Path(sys.argv[1])));print(len(s),flush=True);sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == "1"
        assert list(leftovers(tmp_path)) == []
    finally:
        holder.kill()
        holder.wait()
    assert len(list(leftovers(tmp_path))) == 1


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 400), flip=st.booleans())
def test_a_torn_vector_log_gives_what_was_whole(tmp_path_factory: pytest.TempPathFactory, cut: int, flip: bool) -> None:
    """However the log's end is torn or flipped, what is given back is exact, and it can be appended to."""
    path = tmp_path_factory.mktemp("log") / "vectors.log"
    truth = np.arange(24, dtype=np.float32).reshape(6, 4)
    log = VectorLog(path, 6)
    for first in (4, 2, 0):
        log.append(np.array([first, first + 1]), truth[first : first + 2])
    log.close()
    size = path.stat().st_size
    at = min(cut, size - 1)
    if flip:
        data = bytearray(path.read_bytes())
        data[at] ^= 0x01
        path.write_bytes(data)
    else:
        os.truncate(path, at)
    vectors, done = VectorLog(path, 6).load(4)
    assert not done.all()
    assert np.array_equal(vectors[done], truth[done])
    again = VectorLog(path, 6)
    again.append(np.flatnonzero(~done), truth[~done])
    again.close()
    vectors, done = VectorLog(path, 6).load(4)
    assert done.all() and np.array_equal(vectors, truth)


def test_vectors_of_another_width_are_not_taken(tmp_path: Path) -> None:
    """A log made by another model is worth nothing."""
    log = VectorLog(tmp_path / "vectors.log", 2)
    log.append(np.array([0, 1]), np.ones((2, 4), dtype=np.float32))
    log.close()
    _, done = VectorLog(tmp_path / "vectors.log", 2).load(8)
    assert not done.any()


def test_texts_of_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """At any positions, from several threads, in any language; nothing is opened before."""
    writer = ShardWriter(tmp_path / "shard-1", "s", "f")
    said = [f"text {number} – ж\n" * (number % 3) for number in range(40)]
    rows = [(Row(f"id{number}", "s/a", text, 0, 6, 1), [number]) for number, text in enumerate(said)]
    writer.add(DocState("s/a", "s", "indexed", chunks=40), DocText("s/a", "c", "text"), rows)
    shard = closed(writer)
    wanted = np.array([39, 3, 3, 17])
    texts = shard.row_texts(wanted)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(texts.__getitem__, [0, 1, 2, 3])) == [said[position] for position in wanted]
    assert list(texts) == texts[:] == [said[position] for position in wanted] and len(texts) == 4
    assert texts[-1] == said[17] and texts[1:3] == [said[3]] * 2
    texts.close()
    shard.row_texts([]).close()
