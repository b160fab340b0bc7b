"""Text that reads like a manual and never says the same twice: words of this project's documents, each after one that
it follows there. For more text than anybody has at hand; what is said twice would be embedded once."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import corpus

SEED = 20261121
_PARAGRAPH = 90
"""Words after which the next end of a sentence ends the paragraph."""
_MARKS = re.compile(r"[`*#|<>\[\]]+")


class Inventor:
    """The same documents for the same numbers, whatever was asked for before."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._after: dict[str, list[str]] = {}
        self._first = list[str]()
        for text in texts:
            words = [word for word in _MARKS.sub("", text).split() if any(c.isalpha() for c in word)]
            self._first += [word for word in words if word[0].isupper()]
            for word, follows in pairwise(words):
                self._after.setdefault(word, []).append(follows)

    def document(self, number: int, characters: int) -> str:
        """A title of its own and paragraphs, about so many characters."""
        chance = random.Random(SEED * 1_000_003 + number)
        parts, length = [f"Case {number}: {' '.join(self._words(chance, 6)).rstrip('.,;:')}"], 0
        while length < characters:
            parts.append(" ".join(self._words(chance, _PARAGRAPH)))
            length += len(parts[-1]) + 2
        return "\n\n".join(parts)[: max(characters, 40)].rstrip() + "\n"

    def _words(self, chance: random.Random, least: int) -> Iterator[str]:
        word = chance.choice(self._first)
        for count in range(4 * least):
            yield word
            if count >= least and word.endswith("."):
                return
            word = chance.choice(self._after.get(word) or self._first)


def inventor() -> Inventor:
    """One that speaks as this project's documents do."""
    return Inventor(corpus.documents([corpus.ROOT / name for name in ("docs", "index", "examples")]))


def write(folder: Path, documents: int, characters: int, first: int = 0) -> int:
    """Write so many text files of about so many characters each, some shorter, some longer; their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    invents, chance, written = inventor(), random.Random(SEED), 0
    for number in range(first, first + documents):
        size = int(characters * min(4.0, max(0.25, chance.lognormvariate(-0.125, 0.5))))
        written += (folder / f"{number:06d}.txt").write_bytes(invents.document(number, size).encode())
    return written
