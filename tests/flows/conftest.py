"""A home, a folder of documents and runs without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.flows import model_wiring, prefect_api
from penstock.flows.answers.progress import Quiet
from penstock.flows.config.settings import load
from penstock.flows.runs import launch
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.loading import Here
from penstock.index.reading.reader import Reader
from tests.fakes.encoder import HashEncoder


class World:
    """One home and one folder of documents."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.docs = path / "home", path / "docs"
        self.docs.mkdir(parents=True)
        self.encoder = HashEncoder()
        self.encoder.identity = model_wiring.model_identity(load(None))
        monkeypatch.setattr(model_wiring, "encoder", lambda settings: self.encoder)
        monkeypatch.setattr(model_wiring, "encoders", lambda *_: {"fake": Here(lambda: self.encoder)})
        monkeypatch.setattr(prefect_api, "answers", lambda note: False)
        monkeypatch.chdir(path)
        monkeypatch.setenv("PENSTOCK_SLOTS", str(path / "slots"))

    def write(self, name: str, text: str) -> Path:
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def ingest(self, *targets: Path | str, **options: object) -> Accounting:
        words = tuple(str(target) for target in targets) or (str(self.docs),)
        request = IngestRequest(home=str(self.home), targets=words, **options)  # type: ignore[arg-type]
        return launch.ingest(request, Quiet())

    def rows(self) -> set[tuple[str, str]]:
        """(uri, text) of everything that is served."""
        with Reader.open(self.home) as reader:
            live = reader.manifest.counts.get("chunks", 0)
            if not live:
                return set()
            (hits,) = reader.search(self.encoder.encode_queries(["anything"]), k=live + 10)
            assert len(hits) == live
            return {(hit.uri, hit.text) for hit in hits}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], World]:
    return lambda name: World(tmp_path / name, monkeypatch)
