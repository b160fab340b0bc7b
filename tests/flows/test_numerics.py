"""An index made in one number format is extended and asked in another, and nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.flows import cli, model_wiring
from penstock.flows.runs.loading import Here
from tests.embed.variants import variants

WORDS = ("gate", "water", "turbine", "river", "pressure", "wing", "lens", "plasma", "layer", "valve", "stone", "cable")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model, documents, and a configuration for either format. Models are loaded in this process:
    in which one they compute changes no bit (`test_engine.py`)."""
    monkeypatch.setattr(
        model_wiring, "encoders", lambda settings, *_: {"cpu": Here(lambda: model_wiring.encoder(settings))}
    )
    variants()["bert mean"](tmp_path / "model")
    (tmp_path / "docs").mkdir()
    for number in range(40):
        put(tmp_path, number)
    for dtype in ("bfloat16", "float32"):
        said = f'home = "home"\n[embed]\nmodel = "{tmp_path}/model"\ndtype = "{dtype}"\n'
        (tmp_path / f"{dtype}.toml").write_text(said)
    return tmp_path


def put(place: Path, number: int) -> None:
    said = " ".join(WORDS[(number * k + k * k) % len(WORDS)] for k in range(3, 8 + number % 9))
    (place / "docs" / f"{number:02d}.txt").write_text(f"Case {number}: {said}.")


def run(place: Path, dtype: str, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = cli.main([*words, "--config", str(place / f"{dtype}.toml"), "--home", str(place / "home"), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err + said.out
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.parametrize(("first", "then"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_what_one_format_made_another_goes_on_with(
    place: Path, capsys: pytest.CaptureFixture[str], first: str, then: str
) -> None:
    """Only what is new is embedded; both find the same, but for near ties."""
    made = run(place, first, capsys, "ingest", str(place / "docs"))
    assert made["indexed"] == 40
    for number in range(40, 45):
        put(place, number)
    extended = run(place, then, capsys, "ingest", str(place / "docs"))
    assert (extended["indexed"], extended["unchanged"]) == (5, 40)
    assert extended["embedded_tokens"] < made["embedded_tokens"] / 4
    question = ("search", "water at the gate", "-k", "10")
    scores = [
        {hit["uri"]: hit["score"] for hit in run(place, dtype, capsys, *question)["hits"]} for dtype in (first, then)
    ]
    last, both = min(scores[0].values()), scores[0] | scores[1]
    for uri in both:
        near_tie = uri not in scores[0] or uri not in scores[1]
        assert abs(both[uri] - (last if near_tie else scores[0][uri])) < 5e-3
