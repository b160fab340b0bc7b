"""The commands that make an index smaller, take it elsewhere, or look at a part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import pandas
import pytest

from penstock.flows import cli
from penstock.flows.config.settings import load
from tests.flows.children import served, sound
from tests.flows.conftest import World


@pytest.fixture
def two_sources(world: World) -> World:
    """Source `docs` with eight documents, and `wiki` with two that carry metadata and labels; ten commits."""
    wiki = world.home.parent / "wiki"
    wiki.mkdir()
    for name in ("x", "y"):
        (wiki / f"{name}.txt").write_text(f"wiki page {name}")
    for number in range(8):
        world.write(f"{number}.txt", f"text number {number}")
        world.ingest()
    config = world.home.parent / "penstock.toml"
    config.write_text(
        f'home = "{world.home}"\n[sources.wiki]\npath = "wiki"\nlabels = ["staff"]\n'
        '[sources.wiki.metadata]\nteam = "docs"\n[keep]\nversions = 1\nhours = 0\n'
    )
    assert load(config).sources
    world.ingest("wiki", config=str(config))
    world.docs.joinpath("0.txt").unlink()
    world.ingest()
    return world


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*words, "--config", "penstock.toml", "--json"]) == code, capsys.readouterr()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_compaction_and_collection_change_no_answer(two_sources: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer segments, no dead row, less on disk; a dry run says the same and deletes nothing."""
    before = served(two_sources.home)
    done = said(capsys, "compact", "--full")
    assert (done["segments_after"], done["purged"]) == (1, 1)
    planned = said(capsys, "collect", "--dry-run")
    swept = said(capsys, "collect")
    assert planned["replicas"] == swept["replicas"] and swept["replicas"]["0"]["blobs"] > 0
    assert not said(capsys, "collect")["replicas"]["0"]["blobs"]
    shown = said(capsys, "status")
    assert (shown["healthy"], shown["kept_versions"]) == (True, 1) and shown["expired_versions"] > 9
    assert served(two_sources.home) == before
    sound(two_sources.home)
    assert two_sources.ingest().indexed == 0


def test_an_export_opens_without_penstock(two_sources: World, capsys: pytest.CaptureFixture[str]) -> None:
    """FAISS reads the vectors, pandas the rows; a folder that is not empty is left alone."""
    done = said(capsys, "export", "dump")
    index = faiss.read_index("dump/vectors.faiss")
    rows = pandas.read_parquet("dump/rows.parquet")
    assert index.ntotal == len(rows) == done["vectors"] == 9
    assert "docs/0.txt" not in set(rows["uri"])
    assert said(capsys, "export", "dump", code=2)["error"]["code"] == "wrong-index"
    assert sorted(path.name for path in Path("dump").iterdir()) == ["manifest.json", "rows.parquet", "vectors.faiss"]


@pytest.mark.parametrize(
    ("words", "uris"),
    [
        (["--source", "wiki"], {"wiki/x.txt", "wiki/y.txt"}),
        (["--where", "team=docs"], {"wiki/x.txt", "wiki/y.txt"}),
        (["--where", "team=docs", "--where", "team=other"], {"wiki/x.txt", "wiki/y.txt"}),
        (["--where", "team=other"], set()),
        (["--label", "staff", "--label", "guests"], {"wiki/x.txt", "wiki/y.txt"}),
        (["--label", "guests"], set()),
        (["--source", "docs", "--where", "team=docs"], set()),
        (["--source", "docs", "--exact"], {f"docs/{number}.txt" for number in range(1, 8)}),
    ],
)
def test_a_search_is_narrowed(
    words: list[str], uris: set[str], two_sources: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """All conditions must hold; one key twice means either; nothing else is found, and nothing deleted."""
    found = said(capsys, "search", "anything", "-k", "20", *words)["hits"]
    assert {hit["uri"] for hit in found} == uris


def test_a_condition_that_cannot_be_read_is_refused(two_sources: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With how to write it; so is a rate that is none."""
    assert "KEY=VALUE" in said(capsys, "search", "q", "--where", "team", code=2)["error"]["message"]
    assert "megabytes" in said(capsys, "verify", "--rate", "nan", code=2)["error"]["message"]
    assert said(capsys, "verify", "--rate", "100")["ok"]
