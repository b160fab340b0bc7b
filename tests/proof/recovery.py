#!/usr/bin/env python3
"""The home is lost and restored, with the real command, the real model and kill -9: nothing may be embedded twice.

    python -m tests.proof.recovery [--megabytes M] [--kills N] [--seed S] [--json]

In this order, each checked: five ingests with changes in between, shipped to a folder; the whole home deleted; one
restore, and every hit is what it was; an ingest of unchanged documents, and of 3 changed, 1 new, 2 deleted; the same
with home and documents at other paths and another number format; a restore that is killed again and again; a restore
to a time between the second and the third ingest; a bad ingest rolled back, which stays so through the next runs.
Prints one JSON object; exits 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from corpus import made_up

from tests.proof.kills import COMMAND, hits, penstock


class Site:
    """One machine's view: a configuration, documents, a home, and the DR store that all share."""

    def __init__(self, root: Path, dr: Path | None, documents: Path, embed: str = "") -> None:
        self.root, self.home, self.documents = root, root / "home", documents
        self.config = root / "penstock.toml"
        root.mkdir()
        ships = f'[snapshots]\nstore = "{dr}"\n' if dr else ""
        self.config.write_text(f'home = "home"\n{ships}{embed}[sources.cases]\npath = "{documents}"\n')

    def run(self, *words: str, check: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """A command's answer."""
        print(f"{self.root.name}: penstock {' '.join(words)}", file=sys.stderr, flush=True)
        said: dict[str, Any] = json.loads(penstock(*words, "--config", str(self.config), "--json", check=check))
        return said

    def hits(self, queries: Path) -> list[dict[str, Any]]:
        return hits(self.home, queries)


def edit(documents: Path, turn: int) -> None:
    """Change three documents, add one, delete two: others in each turn."""
    there = sorted(path for path in documents.iterdir() if not path.name.startswith("new"))
    for path in there[turn * 5 : turn * 5 + 3]:
        path.write_text(path.read_text() + f"\n\nIn turn {turn} the gate was closed at {turn} o'clock.\n")
    (documents / f"new-{turn}.txt").write_text(f"A new case of turn {turn}: the reservoir was emptied.\n")
    for path in there[turn * 5 + 3 : turn * 5 + 5]:
        path.unlink()


def embedded(account: dict[str, Any]) -> tuple[int, int, bool]:
    """(documents embedded, removed, whether the model ran at all)."""
    return account["indexed"], account["deleted"], account["embedded_tokens"] > 0


def restore(site: Site, dr: Path, *words: str) -> dict[str, Any]:
    return site.run("restore", "--from", str(dr), *words)


def killed(site: Site, dr: Path, kills: int, dice: random.Random) -> dict[str, Any]:
    """The same restore, killed at random moments, then let finish."""
    words = [*COMMAND, "restore", "--from", str(dr), "--config", str(site.config), "--fork"]
    began = time.monotonic()
    whole = Site(site.root.with_name("measure"), None, site.documents)
    restore(whole, dr, "--fork")
    longest, ended = time.monotonic() - began, 0
    for _ in range(kills):
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(dice.uniform(0.3 * longest, 1.05 * longest))
            ended += 1
            shutil.rmtree(site.home)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
    if not (site.home / "restored.json").exists():
        restore(site, dr, "--fork")
    findings = site.run("verify", check=(0, 1))["findings"]
    return {"kills": kills - ended, "ended_before": ended, "findings": len(findings)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=0.15, help="of documents (default: 0.15)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true", help="as the other parts have it; it is JSON anyway")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    work, started = Path(tempfile.mkdtemp(prefix="penstock-recovery-")), time.monotonic()
    try:
        found = tell(work, options.megabytes, options.kills, random.Random(seed))
    finally:
        shutil.rmtree(work)
    wrong = sorted(name for name, value in found.items() if value is False)
    print(json.dumps({"seed": seed, **found, "wrong": wrong, "seconds": round(time.monotonic() - started, 1)}))
    return 1 if wrong else 0


def tell(work: Path, megabytes: float, kills: int, dice: random.Random) -> dict[str, Any]:
    """The whole story; a promise that was kept is True."""
    documents, dr, queries = work / "documents", work / "dr", work / "queries.jsonl"
    documents.mkdir()
    made_up(documents, megabytes)
    texts = [path.read_text()[100:220] for path in sorted(documents.iterdir())]
    queries.write_text("".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    old, found = Site(work / "old", dr, documents), dict[str, Any]()
    times, answers = list[float](), list[list[dict[str, Any]]]()
    for turn in range(5):
        if turn:
            edit(documents, turn)
        old.run("ingest")
        times.append(time.time())
        answers.append(old.hits(queries))
        time.sleep(1.1)  # times are given in whole seconds
    found["documents"], found["queries"] = len(list(documents.iterdir())), len(texts)
    found["every ingest changed the answers"] = len({json.dumps(answer) for answer in answers}) == 5

    shutil.rmtree(old.home)
    said = restore(old, dr)
    found["seconds_to_search"], found["seconds_to_whole"] = said["seconds_to_search"], said["seconds_to_whole"]
    found["home lost and restored: every hit as before"] = old.hits(queries) == answers[-1]
    found["verify finds nothing"] = old.run("verify")["findings"] == []
    found["unchanged documents: none embedded"] = embedded(old.run("ingest")) == (0, 0, False)

    # The next site has its documents, its home and its number format elsewhere.
    moved = work / "moved" / "documents"
    shutil.copytree(documents, moved)
    other = Site(work / "elsewhere", None, moved, '[embed]\ndtype = "float32"\n')
    restore(other, dr, "--fork")
    other.run("sources", "rebind", "cases", str(moved))
    near = [hit["uri"] for answer in other.hits(queries) for hit in answer["hits"]]
    were = [hit["uri"] for answer in answers[-1] for hit in answer["hits"]]
    found["other number format: share of hits equal"] = round(
        sum(a == b for a, b in zip(near, were, strict=True)) / len(were), 4
    )
    found["moved, unchanged: none embedded"] = embedded(other.run("ingest")) == (0, 0, False)
    edit(moved, 5)
    found["moved: 3 changed, 1 new, 2 deleted: 4 embedded, 2 removed"] = embedded(other.run("ingest")) == (4, 2, True)
    edit(documents, 5)
    found["3 changed, 1 new, 2 deleted: 4 embedded, 2 removed"] = embedded(old.run("ingest")) == (4, 2, True)

    found["killed"] = killed(Site(work / "killed", None, documents), dr, kills, dice)
    found["killed restores verify"] = found["killed"]["findings"] == 0

    between = datetime.fromtimestamp((times[1] + times[2]) / 2, UTC).isoformat(timespec="seconds")
    past = Site(work / "past", None, documents)
    restore(past, dr, "--at", between, "--fork")
    found["restored to a time: exactly the second ingest"] = past.hits(queries) == answers[1]

    before, good = old.run("status")["version"], old.hits(queries)
    for path in documents.iterdir():
        path.write_text("ERROR 503: the page could not be exported\n")
    old.run("ingest")
    found["the bad ingest did harm"] = old.hits(queries) != good
    old.run("rollback", "--to", str(before), "--yes")
    found["rolled back: every hit as before"] = old.hits(queries) == good
    for _ in range(2):
        old.run("ingest", check=(0, 1))
    found["it stays rolled back through the next runs"] = old.hits(queries) == good
    return found


if __name__ == "__main__":
    sys.exit(main())
