"""A home of each format that ever was is opened, verified, searched, extended and searched again by this code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from penstock.index.care import collect, compact
from penstock.index.reading.reader import Reader
from penstock.index.segments import quantizer
from penstock.index.types import FORMAT
from tests.index.golden.make import K, delta, document, vector
from tests.index.world import World

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*/expected.json"))


class Home:
    """A copy of a golden home, and what the code that made it answered."""

    def __init__(self, golden: Path, root: Path) -> None:
        shutil.copytree(golden.parent / "home", root)
        self.world, self.expected = World(root), json.loads(golden.read_text())

    def hits(self, *queries: str) -> dict[str, list[list[object]]]:
        with Reader.open(self.world.root) as reader:
            found = reader.search(np.array([vector(query) for query in queries]), K)
        return {
            query: [[h.uri, h.chunk_id, h.text, round(h.score, 6), h.page, list(h.heading)] for h in hits]
            for query, hits in zip(queries, found, strict=True)
        }


@pytest.fixture(params=GOLDEN, ids=lambda golden: golden.parent.name)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(request.param, tmp_path / "home")


def test_there_is_a_golden_home_of_each_format_but_perhaps_the_newest() -> None:
    """`make.py` makes the newest when it has settled; an older one can never be made again."""
    formats = {json.loads(golden.read_text())["format"] for golden in GOLDEN}
    assert formats >= set(range(1, FORMAT))


def test_it_answers_as_the_code_that_made_it_did(home: Home) -> None:
    """The same hits in the same order, the same states, the same counts."""
    assert home.hits(*home.expected["hits"]) == home.expected["hits"]
    with Reader.open(home.world.root) as reader:
        states = {state.uri: msgspec.to_builtins(state) for state in reader.states()}
        assert (reader.version, dict(reader.manifest.counts)) == (home.expected["version"], home.expected["counts"])
    assert states == home.expected["states"]


def test_nothing_is_wrong_with_it(home: Home) -> None:
    """`verify` has no findings, before and after it was opened for writing."""
    assert home.world.findings() == []
    home.world.open().close()
    assert home.world.findings() == []


def test_it_is_extended(home: Home) -> None:
    """New, changed and deleted documents land on top of the old version; what was not touched answers as before."""
    start = home.expected["version"]
    with home.world.open() as writer:
        changed = document("papers", "epsilon", "douze treize"), document("wiki", "zeta", "newest")
        assert writer.commit(delta(start, *changed, gone=("wiki/delta",))).version == start + 1
    found = home.hits("douze", "newest", "one", "twelve", "eleven")
    assert [found[query][0][2] for query in ("douze", "newest", "one")] == ["douze", "newest", "one"]
    texts = {hit[2] for hits in found.values() for hit in hits}
    assert not texts & {"twelve", "ten", "eleven"}, "what was replaced or deleted is not served"
    with Reader.open(home.world.root) as reader:
        assert reader.manifest.format == FORMAT
        uris = {state.uri for state in reader.states()}
    assert uris == set(home.expected["states"]) - {"wiki/delta"} | {"wiki/zeta"}
    assert home.world.findings() == []


def test_it_is_compacted_and_collected(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of every format are merged, to either kind; old versions go; the answers stay."""
    for least in (20, 10**9):
        monkeypatch.setattr(quantizer, "IVF_FROM", least)
        with home.world.open() as writer:
            head = writer.head().version
            many = document("papers", "more", " ".join(f"{least}.{n}" for n in range(30)))
            writer.commit(delta(head, many, document("papers", "epsilon", "twelve")))
            assert compact.compact(writer, compact.Policy(), full=True).segments_after == 1
            collect.collect(writer, collect.Retention(versions=1, seconds=0), now=10.0**9)
        assert home.world.findings() == []
        found = home.hits(*home.expected["hits"])
        for query, hits in home.expected["hits"].items():
            assert hits[0][2] != query or found[query][0] == hits[0]


def test_a_lost_replica_of_it_is_made_again(home: Home) -> None:
    """Old versions are copied whole, byte for byte."""
    lost = home.world.folder("1")
    before = {path.relative_to(lost): path.read_bytes() for path in lost.rglob("*") if path.is_file()}
    shutil.rmtree(lost)
    home.world.open().close()
    after = {path: (lost / path).read_bytes() for path in before}
    assert after == before
    assert home.hits(*home.expected["hits"]) == home.expected["hits"]
