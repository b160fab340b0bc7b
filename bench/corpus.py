"""Text to measure and to prove with: folders, JSON Lines, or made of this project's own documents."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".txt", ".md")


def made_up(folder: Path, megabytes: float) -> list[Path]:
    """Documents of 200 to 20,000 characters, half of them under 1,200, out of the paragraphs of our own documents."""
    sources = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")})
    paragraphs = [part.strip() for path in sources for part in path.read_text().split("\n\n") if len(part) > 80]
    chance, written, number = random.Random(20261121), 0, 0
    while written < megabytes * 1e6:
        length = min(20_000, max(200, chance.lognormvariate(7.1, 0.8)))
        parts: list[str] = []
        while sum(map(len, parts)) < length:
            parts.append(chance.choice(paragraphs))
        text = f"Case {number}\n\n" + "\n\n".join(parts)[: int(length)]
        (folder / f"{number:05d}.txt").write_text(text)
        written, number = written + len(text.encode()), number + 1
    return [folder]


def documents(paths: Sequence[Path]) -> list[str]:
    """The text files of folders and the title and text of each line of JSON Lines, in order. Raises OSError."""
    texts: list[str] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
            texts += [file.read_text(errors="replace") for file in files]
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            texts += [f"{row.get('title', '')}\n{row.get('text', '')}" for row in rows]
    return texts


def some(texts: Sequence[str], megabytes: float) -> list[str]:
    """At most so much of the texts, and at least one, spread over all of them; the same each time."""
    taken, room = list[int](), megabytes * 1e6
    for number in random.Random(20261121).sample(range(len(texts)), len(texts)):
        size = len(texts[number].encode())
        if size <= room or not taken:
            taken.append(number)
            room -= size
    return [texts[number] for number in sorted(taken)]


def as_folder(texts: Sequence[str], folder: Path) -> int:
    """A text file for each text; the bytes that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    return sum((folder / f"{number:06d}.txt").write_bytes(text.encode()) for number, text in enumerate(texts))
