"""The benchmarks run: on little models and little text, so that they are there when somebody needs a figure."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent.parent / "bench"


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find their modules beside them; what they do to the process is undone."""
    monkeypatch.syspath_prepend(str(BENCH))
    for name in ("PYTHONPATH", "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def script(name: str) -> ModuleType:
    """A script as a module: torch is then loaded once for all of them."""
    loader = SourceFileLoader(f"bench_{name.replace('/', '_')}", str(BENCH / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The script's exit code."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return int(script(name).main())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of a tiny shape, random weights."""
    sys.path.insert(0, str(BENCH))
    try:
        import corpus
        import random_model
    finally:
        sys.path.remove(str(BENCH))
    folder = tmp_path_factory.mktemp("model")
    (folder / "text").mkdir()
    texts = corpus.documents(corpus.made_up(folder / "text", 0.02))
    return random_model.save(folder, random_model.SHAPES["tiny"], random_model.tokenizer(texts))


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_encode_has_all_ways_and_targets(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """bench/encode measures every way over the same tokens and says which targets were met."""
    assert run("encode", monkeypatch, "--limit", 24, "--repeat", 1, "--model", model, "--device", "cpu", "--json") == 0
    found = said(capsys)
    assert {"engine", "engine_fp32", "encode", "encode_tuned", "bare"} <= set(found["tokens_per_second"])
    assert found["tokens_of_encode"] == found["tokens"]
    assert found["cosine_to_fp32"]["min"] >= 0.999
    assert found["encode_moved_by_loading_the_engine"] == 0.0
    assert all(line.startswith(("met", "MISSED")) for line in found["targets"].values())


def test_ingest_compares_the_pipeline_with_the_engine(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """bench/ingest runs the pipeline in a process of its own, and the engine and `encode` on its chunks."""
    assert run("ingest", monkeypatch, "--megabytes", 0.01, "--repeat", 1, "--model", model, "--json") == 0
    found = said(capsys)
    assert found["sampled_tokens"] == found["tokens"] > 0
    assert found["pipeline_to_engine"] > 0
    assert found["peak_memory_mb"] > 50


def test_memory_is_measured_without_a_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """bench/ingest --flat measures the memory of everything but the model, and says that no model ran."""
    words = ("--flat", "--flat-megabytes", "0.005", "--encoder", "hashing", "--model", model, "--json")
    assert run("ingest", monkeypatch, *words) == 0
    found = said(capsys)
    assert "no model ran" in found["encoder"]
    assert found["0.005 MB"]["peak_memory_mb"] > 30


def test_gpu_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """bench/gpu goes through its parts on a CPU too; what it writes holds every figure."""
    parts = "engine_alone,encode,end_to_end,padded,bare,kernels,parity,memory"
    assert run("gpu", monkeypatch, "--device", "cpu", "--tiny", "--out", tmp_path, "--parts", parts) == 0
    figures = json.loads((tmp_path / "gpu.json").read_text())["shapes"]["tiny"]
    speeds = figures["tokens_per_second"]
    assert {"engine mixed", "tokenizer", "end to end", "encode", "encode tuned", "padded mixed"} <= set(speeds)
    assert figures["other_bits_when_shuffled"] == 0
    assert figures["out_of_memory"]["injected"]["accounted_for"]
    assert figures["out_of_memory"]["injected"]["other_bits"] == 0


def test_every_peer_has_its_script_and_is_pinned() -> None:
    """Whoever is compared with can be run, in an environment whose versions are all said."""
    peers = script("peers/run").PEERS
    assert {path.stem for path in (BENCH / "peers").glob("with_*.py")} == {f"with_{name}" for name in peers}
    for file in ("requirements.txt", "constraints.txt"):
        lines = (BENCH / "peers" / file).read_text().splitlines()
        assert all("==" in line for line in lines if line and not line.startswith("#"))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages are made and unpacked with dpkg-deb")
def test_texts_come_out_of_packages(tmp_path: Path) -> None:
    """bench/texts writes the English pages of a package, less what is too short."""
    package, debs = tmp_path / "package", tmp_path / "debs"
    for place, words in (("html/one.html", 90), ("html/short.html", 3), ("de/eins.html", 90)):
        file = package / "usr/share/doc/manual-doc" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<p>{'Water is let in at the pace of the wheel. ' * words}</p>")
    (package / "DEBIAN").mkdir()
    control = (
        "Package: manual-doc\nVersion: 1\nArchitecture: all\nMaintainer: nobody <no@example.org>\nDescription: x\n"
    )
    (package / "DEBIAN/control").write_text(control)
    debs.mkdir()
    subprocess.run(["dpkg-deb", "--build", package, debs / "manual-doc_1_all.deb"], check=True, capture_output=True)
    assert script("texts").write(tmp_path / "text", 1.0, ["manual-doc"], debs) > 3000
    assert [file.name[:13] for file in (tmp_path / "text").rglob("*.txt")] == ["manual-doc-ht"]


def test_sizing_adds_up_and_writes_its_page(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """bench/sizing.py: the parts are the replica; the table goes between its marks, and the rest of the page stays."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- sizing -->\nold\n<!-- /sizing -->\nafter\n")
    assert run("sizing.py", monkeypatch, "--chunks", 60, "--model", model, "--page", page, "--json") == 0
    found = said(capsys)
    sizes = found["compacted"]["sizes"]
    parts = [size for kind, size in sizes.items() if kind not in ("one replica", "catalog", "cache of vectors")]
    assert sum(parts) == sizes["one replica"] > sizes["vectors"] > 0
    assert all(found["ingested"]["reader"][moment] > 0 for moment in ("imported", "open", "after the first search"))
    assert page.read_text().startswith("before\n<!-- sizing -->\n2") and page.read_text().endswith("-->\nafter\n")
    assert "| **one replica** |" in page.read_text()
