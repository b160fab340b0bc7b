"""Whole runs through the gate: everything but the model is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.flows import cli, wiring
from penstock.flows.answers.exits import USAGE, outcome
from penstock.flows.answers.summary import markdown
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.runs.gate import Drifted
from penstock.index.types import Manifest
from tests.fakes.encoder import DIM, HashEncoder, vector
from tests.flows.conftest import World


def drifted(world: World, cosine: float = 0.99) -> HashEncoder:
    encoder = HashEncoder(cosine=cosine)
    encoder.identity = world.encoder.identity
    return encoder


def head(world: World, change: Callable[[Manifest], Manifest] | None = None) -> Manifest:
    """The head, after `change` was committed."""
    with wiring.open_writer(load(None), Home(world.home), print) as writer:
        if change is not None:
            writer.advance(lambda attempt: attempt.next(spaces=change(attempt.head).spaces))
        return writer.head()


def as_before_canaries(manifest: Manifest) -> Manifest:
    spaces = {
        name: msgspec.structs.replace(space, canaries=None, baseline=None) for name, space in manifest.spaces.items()
    }
    return msgspec.structs.replace(manifest, spaces=spaces)


def spooled(world: World) -> list[str]:
    return sorted(path.name for path in (world.home / "spool").glob("shard-*"))


def test_the_first_run_leaves_canaries_and_a_baseline(world: World) -> None:
    """With the vectors, in their commit; the account says what they are like."""
    for number in range(3):
        world.write(f"{number}.txt", f"text {number}")
    account = world.ingest()
    space = head(world).spaces["default"]
    assert account.version == 1 and world.encoder.canaries == 1
    assert space.canaries is not None and space.baseline is not None
    assert space.baseline.figures["documents"] == account.quality["documents"] == 3
    assert "before_documents" not in account.quality


def test_a_model_that_drifted_writes_nothing_and_the_run_goes_on_with_the_right_one(world: World) -> None:
    """The head is what it was, nothing was embedded, and what was prepared waits in the spool."""
    world.write("a.txt", "alpha")
    world.ingest()
    before = head(world)
    for number in range(40):
        world.write(f"{number:02d}.txt", f"text {number}")
    right, world.encoder = world.encoder, drifted(world)
    with pytest.raises(Drifted) as raised:
        world.ingest()
    assert outcome(raised.value)[:2] == (USAGE, "drifted")
    assert head(world) == before
    assert world.encoder.embedded == []
    waiting = len(spooled(world))
    world.encoder = right
    account = world.ingest()
    assert account.indexed == 40 and len(world.rows()) == 41
    assert not waiting or account.resumed, "what was prepared is not prepared again"
    assert spooled(world) == []


def test_vectors_that_lay_in_the_spool_are_not_committed_by_a_model_that_drifted(world: World) -> None:
    """Not even where all of a shard is embedded already; the model that made them goes on with them."""
    world.write("first.txt", "first")
    world.ingest()
    for number in range(40):
        world.write(f"{number:02d}.txt", f"text {number}")
    world.encoder = HashEncoder(dies_after=5)
    with pytest.raises(RuntimeError, match="device"):
        world.ingest()
    made, before, shards = len(world.encoder.embedded), head(world), spooled(world)
    assert made == 20 and shards
    world.encoder = drifted(world)
    with pytest.raises(Drifted):
        world.ingest()
    assert (head(world), spooled(world)) == (before, shards)
    world.encoder = HashEncoder()
    assert world.ingest().resumed == 40
    assert len(world.encoder.embedded) == 40 - made


def test_an_index_from_before_canaries_adopts_them_with_its_next_vectors(world: World) -> None:
    """It is searched and found whole before and after; the next drifted model is refused."""
    world.write("a.txt", "alpha")
    world.ingest()
    assert head(world, as_before_canaries).spaces["default"].canaries is None
    world.write("b.txt", "beta")
    assert world.ingest().indexed == 1
    assert head(world).spaces["default"].canaries is not None
    world.write("c.txt", "gamma")
    world.encoder = drifted(world)
    with pytest.raises(Drifted):
        world.ingest()
    assert len(world.rows()) == 2


def test_two_homes_have_their_own_canaries(make_world: Callable[[str], World]) -> None:
    """What one index refuses, another may have been made with."""
    one, other = make_world("one"), make_world("other")
    one.encoder = other.encoder  # `wiring` gives the last world's
    one.write("a.txt", "alpha")
    one.ingest()
    other.encoder = one.encoder = drifted(other)
    other.write("a.txt", "alpha")
    assert other.ingest().indexed == 1
    one.write("b.txt", "beta")
    with pytest.raises(Drifted):
        one.ingest()
    other.write("b.txt", "beta")
    assert other.ingest().indexed == 1


def test_nothing_to_embed_asks_no_model(world: World) -> None:
    """Deletions and touched documents are committed without canaries; the baseline stays as it is."""
    for number in range(3):
        world.write(f"{number}.txt", f"text {number}")
    world.ingest()
    before = head(world).spaces["default"]
    (world.docs / "1.txt").unlink()
    assert world.ingest().deleted == 1
    after = head(world).spaces["default"]
    assert world.encoder.canaries == 1
    assert (after.canaries, after.baseline) == (before.canaries, before.baseline)


def test_verify_compact_collect_and_repair_have_nothing_to_say_of_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are part of the manifest: a replica that is lost gets them back with it."""
    import shutil

    for number in range(4):
        world.write(f"{number}.txt", f"text {number}")
        world.ingest()
    space = head(world).spaces["default"]
    shutil.rmtree(next(path for path in (world.home / "replicas").iterdir() if path.is_dir()))
    for command in (["repair"], ["compact", "--full"], ["collect"], ["verify"]):
        assert cli.main([*command, "--home", str(world.home)]) == 0, command
    after = head(world).spaces["default"]
    assert (after.canaries, after.baseline) == (space.canaries, space.baseline)
    assert "All is well" in capsys.readouterr().out


def test_search_warns_where_questions_are_embedded_otherwise(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, once, with an answer all the same; a model that agrees says nothing."""
    world.write("a.txt", "alpha")
    world.ingest()
    capsys.readouterr()
    assert cli.main(["search", "alpha", "--home", str(world.home)]) == 0
    assert capsys.readouterr().err == ""
    world.encoder = drifted(world)
    assert cli.main(["search", "alpha", "--home", str(world.home), "--json"]) == 0
    said = capsys.readouterr()
    assert "docs/a.txt" in said.out and said.err.count("cosine 0.99") == 1


class Topical(HashEncoder):
    """Texts of the same first word lie near each other."""

    def _vector(self, ids: Sequence[int]) -> NDArray[np.float32]:
        towards = vector(ids[1:2]) * 2 + vector(ids)
        made: NDArray[np.float32] = (towards / np.linalg.norm(towards)).astype(np.float32)
        assert made.shape == (DIM,)
        return made


def test_documents_of_another_kind_are_told_in_the_report(world: World, tmp_path: Path) -> None:
    """A run of more of the same is silent; one of something else has a note, a table, and figures."""
    world.encoder = Topical()
    for number in range(40):
        world.write(f"{number}.txt", f"water number {number}")
    world.ingest()
    for number in range(40, 55):
        world.write(f"{number}.txt", f"water number {number}")
    same = world.ingest()
    assert same.messages == [] and same.quality["centroid_cosine"] > 0.9
    for number in range(60, 75):
        world.write(f"{number}.txt", f"zebra number {number}")
    other = world.ingest()
    assert [line for line in other.messages if "lie elsewhere" in line]
    assert other.quality["before_documents"] == 55 and other.exit_code() == 0
    page = markdown(other)
    assert "## Vectors of this run" in page and "lie elsewhere" in page
