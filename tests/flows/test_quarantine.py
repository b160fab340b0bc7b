"""A passage that no vector can be made of: its document is rejected, everything else lands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed.types import Refused
from penstock.flows import cli
from penstock.flows.runs.accounting import Retry
from penstock.flows.spools.vector_log import VectorLog
from penstock.index.reading.reader import Reader
from tests.fakes.encoder import HashEncoder
from tests.flows.conftest import World


def poisoned(world: World, **how: Any) -> HashEncoder:
    encoder = HashEncoder(refuses=("poison",), **how)
    encoder.identity = world.encoder.identity
    return encoder


def said(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert cli.main(["--home", str(world.home), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_document_with_a_refused_passage_is_rejected_and_the_rest_lands(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a reason, where the passage is and never its text; nothing of the document is served or kept."""
    world.write("a.txt", "alpha")
    world.write("bad.md", "# One\n\nsound words\n\n# Two\n\nhere is the poison itself\n")
    world.write("z.txt", "omega")
    world.encoder = poisoned(world)
    account = world.ingest()
    assert (account.listed, account.indexed, account.rejected, account.exit_code()) == (3, 2, 1, 0)
    assert account.reasons == {"rejected": {"no_vector": 1}} and account.chunks == 2
    assert {uri for uri, _ in world.rows()} == {"docs/a.txt", "docs/z.txt"}
    with Reader.open(world.home) as reader:
        assert reader.texts(["docs/bad.md"]) == {}
    [failure] = said(world, capsys, "failures", "--class", "no_vector")["failures"]
    assert failure["uri"] == "docs/bad.md" and failure["detail"].startswith("characters ")
    assert "crash" in failure["detail"] and "poison" not in failure["detail"]
    explained = said(world, capsys, "explain", "docs/bad.md")
    assert explained["reason"] == "no_vector" and "penstock retry --uri docs/bad.md" in explained["next"]
    assert explained["tokens"] == explained["chunk_count"] == 0 and not explained["served"]


def test_what_an_older_version_had_goes_away(world: World) -> None:
    """As with every rejection: what the document says now has no vector, so its old text must not answer."""
    world.write("a.txt", "alpha")
    world.write("b.txt", "beta")
    world.ingest()
    world.write("b.txt", "poison")
    world.encoder = poisoned(world)
    account = world.ingest()
    assert (account.rejected, account.unchanged) == (1, 1)
    assert {uri for uri, _ in world.rows()} == {"docs/a.txt"}


def test_a_rejected_document_is_left_alone_until_it_changes_or_somebody_asks(world: World) -> None:
    """`retry` by class or uri tries it again, without listing anything."""
    world.write("a.txt", "alpha")
    world.write("bad.txt", "poison here")
    world.encoder = poisoned(world)
    world.ingest()
    again = world.ingest()
    assert (again.rejected, again.unchanged, len(world.encoder.refused)) == (1, 1, 1)
    still = world.ingest(retry=Retry(uris=("docs/bad.txt",)))
    assert (still.listed, still.rejected, len(world.encoder.refused)) == (1, 1, 2)
    world.encoder = HashEncoder()
    mended = world.ingest(retry=Retry(reason="no_vector"))
    assert (mended.listed, mended.indexed) == (1, 1)
    assert ("docs/bad.txt", "poison here") in world.rows()


def test_equal_texts_are_refused_together(world: World) -> None:
    """The same poison in two documents of a shard is tried once, and rejects both."""
    for name in ("1.txt", "2.txt"):
        world.write(name, "poison here")
    world.write("3.txt", "fine")
    world.encoder = poisoned(world)
    account = world.ingest()
    assert (account.rejected, account.indexed, len(world.encoder.refused)) == (2, 1, 1)


def test_an_interrupted_run_leaves_the_poison_known(world: World) -> None:
    """What was refused before the run died is not tried again by the next one, and is rejected there."""
    for number in range(30):
        world.write(f"{number:02d}.txt", f"text {number}")
    world.write("bad.txt", "this poison comes first because it is the longest text of all of them")
    world.encoder = poisoned(world, dies_after=4)
    with pytest.raises(RuntimeError, match="device"):
        world.ingest()
    assert len(world.encoder.refused) == 1
    world.encoder = poisoned(world)
    account = world.ingest()
    assert (account.resumed, account.indexed, account.rejected) == (31, 30, 1)
    assert world.encoder.refused == []


def refusal(position: int) -> Refused:
    return Refused(position, "crash", f"number {position}")


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 400), flip=st.booleans())
def test_a_torn_log_gives_back_whole_refusals_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: bool
) -> None:
    """Whatever happened to its end: what counts as refused was refused, and the log can be gone on with."""
    path = tmp_path_factory.mktemp("log") / "vectors.log"
    truth = np.arange(24, dtype=np.float32).reshape(6, 4)
    log = VectorLog(path, 6)
    log.append(np.array([4, 5]), truth[4:])
    log.refuse([refusal(3), refusal(1)])
    log.append(np.array([0]), truth[:1])
    log.close()
    data = bytearray(path.read_bytes())
    at = min(cut, len(data) - 1)
    data[at:] = bytes([data[at] ^ 1]) + data[at + 1 :] if flip else b""
    path.write_bytes(data)
    again = VectorLog(path, 6)
    vectors, done = again.load(4)
    assert again.refused in ({}, {1: refusal(1), 3: refusal(3)})
    assert not vectors[list(again.refused)].any() and done[list(again.refused)].all()
    kept = [position for position in np.flatnonzero(done) if position not in again.refused]
    assert np.array_equal(vectors[kept], truth[kept])
    again.refuse([refusal(2)])
    again.close()
    last = VectorLog(path, 6)
    assert last.load(4)[1][2] and 2 in last.refused


def test_a_refusal_travels_with_the_copy(tmp_path: Path) -> None:
    """The mirror gets each record as the file has it."""
    copied: list[bytes] = []
    log = VectorLog(tmp_path / "vectors.log", 3, copied.append)
    log.append(np.array([0]), np.ones((1, 4), np.float32))
    log.refuse([refusal(2)])
    log.close()
    (tmp_path / "copy.log").write_bytes(b"".join(copied))
    there = VectorLog(tmp_path / "copy.log", 3)
    assert there.load(4)[1].tolist() == [True, False, True] and there.refused == {2: refusal(2)}
