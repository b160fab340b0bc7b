"""A writer that never stops by itself: commits its own documents to a home, and notes what was acknowledged.

`acks/{name}.jsonl`, fsync'd line by line: what is about to be committed, then the version that holds it. The parent
kills it at any moment. What it owned before is read back from there, so that every document has one history.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from penstock.index.errors import Conflict, Fenced, Unavailable, Unknown
from tests.index.world import delta
from tests.proof.homes import Home

WORDS = ["alder", "birch", "cedar", "douglas", "elm", "fir", "ginkgo", "hazel"]


class Diary:
    """What one writer meant and what it was told. Survives its writer; a line that was cut short never counted."""

    def __init__(self, home: Path, name: str) -> None:
        self.path = home / "acks" / f"{name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)

        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a") as out:
                out.write("\n")

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for text in self.path.read_text().split("\n") if self.path.exists() else ():
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # cut short: nothing was done upon it
        return found

    def note(self, **line: Any) -> None:
        with self.path.open("a") as out:
            out.write(f"{json.dumps(line)}\n")
            out.flush()
            os.fsync(out.fileno())

    def allowed(self) -> dict[str, list[str | None]]:
        """For each document what may be served: what was acknowledged last, or anything that was meant since."""
        allowed: dict[str, list[str | None]] = {}
        for line in self.lines():
            allowed |= {uri: [content] for uri, content in line.get("settled", {}).items()}
            for uri, content in line["docs"].items():
                if line["acked"]:
                    allowed[uri] = [content]
                else:
                    allowed.setdefault(uri, [None]).append(content)
        return allowed

    @property
    def acked(self) -> tuple[int, int]:
        """How many commits were acknowledged, and the newest version among them."""
        versions = [line["acked"] for line in self.lines() if line["acked"]]
        return len(versions), max(versions, default=0)


def run(root: Path, name: str, seed: int) -> None:
    """Commit until killed. Faults that mean "again" are tried again; any other ends the process with a trace."""
    dice, home, diary = random.Random(seed), Home(root), Diary(root, name)
    while True:
        try:
            with home.open() as writer:
                while True:
                    docs = {
                        f"{name}/{dice.randrange(12)}": None if dice.random() < 0.2 else _content(dice)
                        for _ in range(dice.randint(1, 3))
                    }
                    version = writer.head().version
                    diary.note(acked=0, docs=docs)
                    done = writer.commit(delta(version, docs))
                    assert not done.dropped, "nobody else changes these"
                    diary.note(acked=done.version, docs=docs)
        except (Conflict, Fenced, Unavailable, Unknown) as fault:
            with (root / "acks" / f"{name}.faults").open("a") as out:
                out.write(f"{type(fault).__name__}: {fault}\n")


def _content(dice: random.Random) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(dice.randint(1, 4)))
