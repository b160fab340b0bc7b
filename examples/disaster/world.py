"""The two servers of the demo, on loopback: a wiki that misbehaves and keeps a log, and a model that counts its tokens.

Both are the ones that penstock is tested with (`tests/fakes`), with other content: the documents of a folder, and the
vectors of all-MiniLM-L6-v2.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.embeddings_server import Asked, Embeddings, tokens_of
from tests.fakes.rough.wire import Answer
from tests.fakes.rough.world import Attachment, Entry, World

TEXTS = {".md": "markdown", ".txt": "plain", ".html": "html"}
FEWEST = 480
"""Documents: so many that three kills find work under way. What a folder lacks is made of its own sentences."""
_TAG = re.compile(r"<[^>]+>")


class Wiki(World):
    """The files of a folder, numbered from 1; after them, made of their sentences in another order, `FEWEST` in all.

    A text is an item's own body; any other file hangs on an item that only names it.
    """

    def __init__(self, folder: Path, seed: int = 7) -> None:
        self.files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        if not self.files:
            raise SystemExit(f"{folder} holds no files")
        texts = (_TAG.sub(" ", path.read_text("utf-8", "replace")) for path in self.files if path.suffix in TEXTS)
        found = re.split(r"(?<=[.!?])\s+|\n\n+", "\n\n".join(texts))
        self.said = sorted({" ".join(one.split()) for one in found if 30 < len(one) < 400}) or ["Nothing was said."]
        super().__init__(seed, max(FEWEST, len(self.files)), attached=0)

    def path(self, entry: Entry) -> Path | None:
        return self.files[entry.number - 1] if entry.number <= len(self.files) else None

    def kind(self, entry: Entry) -> str:
        path = self.path(entry)
        return TEXTS.get(path.suffix, "plain") if path else super().kind(entry)

    def title(self, entry: Entry) -> str:
        path = self.path(entry)
        return path.stem if path else f"Note {entry.number}"

    def sentences(self, entry: Entry) -> list[str]:
        dice = random.Random(f"{self.seed}/{entry.number}/{entry.revision}")
        return [f"Note {entry.number}.", *dice.choices(self.said, k=4)]

    def body(self, entry: Entry) -> str:
        path = self.path(entry)
        if path is None:
            return super().body(entry)
        return path.read_text("utf-8", "replace") if path.suffix in TEXTS else f"The file {path.name}."

    def attachments(self, entry: Entry) -> list[Attachment]:
        path = self.path(entry)
        if path is None or path.suffix in TEXTS:
            return []
        name = re.sub(r"[^A-Za-z0-9]+", "-", path.stem)
        return [Attachment(f"{name}-{entry.number}{path.suffix}", path.read_bytes(), "application/octet-stream")]


class Model(Embeddings):
    """An endpoint with a real model behind it. Each text is computed alone, so its vector depends on nothing else."""

    def __init__(self) -> None:
        super().__init__(latency=0.15)
        self.answered: list[tuple[float, tuple[str, ...]]] = []
        self.limits.text_tokens = 4096
        self._known: dict[str, NDArray[np.float32]] = {}

    @functools.cached_property
    def _encoder(self) -> Any:
        os.environ["TQDM_DISABLE"] = "1"
        from sentence_transformers import SentenceTransformer

        from penstock.embed import models

        return SentenceTransformer(str(models.resolve().path), device="cpu")

    def vector(self, text: str) -> NDArray[np.float32]:
        """Unit norm, float32 (384,). Computed once for the whole showing; what is asked for twice is counted twice."""
        if text not in self._known:
            self._known[text] = self._encoder.encode([text], normalize_embeddings=True)[0]
        return self._known[text]

    def tokens(self, text: str) -> int:
        """As the endpoint bills them."""
        return tokens_of(text)

    def _answer(self, asked: dict[str, Any], seen: Asked) -> Answer:
        answer = super()._answer(asked, seen)
        self.answered.append((time.monotonic(), seen.texts))
        return answer

    def _item(self, index: int, text: str, asked: dict[str, Any], seen: Asked) -> dict[str, Any]:
        seen.given += 1
        return {"object": "embedding", "index": index, "embedding": [float(x) for x in self.vector(text)]}
