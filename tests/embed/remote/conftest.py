"""An endpoint as a configuration describes it, over the fake server, with backoffs that hardly wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed.remote.encoder import RemoteEncoder
from penstock.embed.types import Refused
from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings, load
from penstock.flows.runs.endpoint import Endpoint
from tests.fakes.embeddings_server import Embeddings
from tests.fakes.rough.serving import Serving

KEY = "sk-hush-0123456789abcdef"


class Bench:
    """One server, and endpoints that are opened to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.notes: list[str] = []
        self.opened = 0

    def serve(self, **about: Any) -> Embeddings:
        self.app = Embeddings(**about)
        self.server = self._stack.enter_context(Serving(self.app))  # type: ignore[arg-type]
        return self.app

    def settings(self, prompts: tuple[str, str] = ("", ""), **keys: Any) -> Settings:
        said = {
            "url": f"{self.server.url}/v1",
            "key": "${ENDPOINT_KEY}",
            "allow": ["127.0.0.0/8"],
            "seconds": 2.0,
            "max_text_tokens": 512,
            **keys,
        }
        embed = {"model": "fake-embed", "query_prompt": prompts[0], "document_prompt": prompts[1], "endpoint": said}
        return load(None, {"embed": embed})

    def endpoint(self, window: float = 1.0, cache: Any = None, stopped: Any = lambda: False, **keys: Any) -> Endpoint:
        home = Home(self.folder / "home")
        found = Endpoint(
            self.settings(**keys), home, window=window, cache=cache, note=self.notes.append, stopped=stopped
        )
        self._stack.callback(found.close)
        return found

    def encoder(self, **keys: Any) -> RemoteEncoder:
        return self.endpoint(**keys).ready()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ENDPOINT_KEY", KEY)
    monkeypatch.setattr(wiring, "chance", lambda: 0.01)
    with ExitStack() as stack:
        yield Bench(tmp_path, stack)


def encoded(
    encoder: RemoteEncoder, texts: list[str], seen: Callable[[Any], object] = lambda batch: None
) -> tuple[dict[int, NDArray[np.float32]], dict[int, Refused], int]:
    """(position → vector, position → refused, billed); each position once, or it fails."""
    count = encoder._asker._count
    vectors: dict[int, NDArray[np.float32]] = {}
    refused: dict[int, Refused] = {}
    billed = 0
    for batch in encoder.encode([[0] * count(text) for text in texts], texts):
        seen(batch)
        billed += batch.billed
        for position, row in zip(batch.positions.tolist(), batch.vectors, strict=True):
            assert position not in vectors and position not in refused
            vectors[position] = row
        for one in batch.refused:
            assert one.position not in vectors and one.position not in refused
            refused[one.position] = one
    return vectors, refused, billed
