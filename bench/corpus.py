"""Text to measure and to prove with, made of this project's own documents, the same every time."""

from __future__ import annotations

import random
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
