#!/usr/bin/env python3
"""Writers are killed and stopped at random moments, homes are damaged between rounds: no acknowledged commit is lost.

    python -m tests.proof.soak --seconds 300 [--seed N] [--json]

Real processes, SIGKILL, SIGSTOP and SIGCONT. Two or three writers commit to one home without pause. After each
round the home is damaged in one of the ways of `damage_kinds` (or not), opened, repaired where that is needed,
verified, and compared with what the writers were told. Exits 1 if anything was lost, or wrong, or left wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from penstock.index.reading.reader import Reader
from tests.index.world import delta, served
from tests.proof import damage_kinds, servers, soak_child
from tests.proof.homes import Home, describe
from tests.proof.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = 80
"""A home that has more versions is left for a new one: each check walks all of them."""
MENDED_BY_OPENING = ("nothing", "replica deleted", "catalog deleted", "catalog rolled back")
QUIET = ("nothing", "nothing", "nothing")


class Soak:
    """The homes of one soak, the figures, and what went wrong."""

    def __init__(self, work: Path, seed: int, servers: Servers | None = None) -> None:
        self.work, self.dice, self.servers = work, random.Random(seed), servers
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.opening: list[float] = []
        self._doing = ""
        self._homes = 0
        self._fork = multiprocessing.get_context("forkserver")
        self._fork.set_forkserver_preload(["tests.proof.soak_child"])

    def run(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not self.wrong:
            home = self._home()
            past, version = home.parent / "past", 0
            while time.monotonic() < ends and version < VERSIONS and not self.wrong:
                with self.servers.weather(random.Random(self.dice.random())) if self.servers else nullcontext():
                    zombie = self._round(home)
                try:
                    with self._zombie(zombie):
                        self._mend(home, past, alone=zombie is None)
                    version = self._check(home)
                except Exception as error:
                    self._say(f"{type(error).__name__}: {error}")
                if self.dice.random() < 0.3 and not self.wrong:
                    shutil.rmtree(past)
                    shutil.copytree(home, past)
            acked = [soak_child.Diary(home, path.stem).acked[0] for path in (home / "acks").glob("*.jsonl")]
            self.counts["commits acknowledged"] += sum(acked)
            if not self.wrong:
                shutil.rmtree(home.parent)

    def _home(self) -> Path:
        self._homes += 1
        home = self.work / str(self._homes) / "home"
        if self.servers:
            self.servers.home(home)
        else:
            describe(home)
        with Home(home).create() as writer:
            writer.commit(delta(0, {"made/first": "here"}))
        shutil.copytree(home, home.parent / "past")
        return home

    def _start(self, home: Path, name: str) -> Any:
        child = self._fork.Process(target=soak_child.run, args=(home, name, self.dice.randrange(1 << 32)), daemon=True)
        child.start()
        return child

    def _round(self, home: Path) -> Any:
        """Let writers write, and die. One of them may be left stopped: it is returned."""
        names = ["a", "b", "c"][: self.dice.randint(2, 3)]
        children = {name: self._start(home, name) for name in names}
        # Writers live for as long as a few openings take: on a busy machine, and on servers, that is long.
        pace = 30.0 if self.servers else min(12.0, max(1.5, 80 * statistics.median(self.opening[-5:] or [0.0])))
        ends = time.monotonic() + self.dice.uniform(1.0, 4.0) * (6 if self.servers else 1)
        while time.monotonic() < ends:
            time.sleep(self.dice.uniform(0.02, 0.25) * pace)
            name = self.dice.choice(names)
            child = children[name]
            if self.dice.random() < 0.25:
                self._signal(child, signal.SIGSTOP)
                wake = threading.Timer(self.dice.uniform(0.05, 1.5), self._signal, (child, signal.SIGCONT))
                wake.daemon = True
                wake.start()
                self.counts["stops"] += 1
                continue
            if child.exitcode not in (None, -signal.SIGKILL):
                self.wrong.append(f"writer {name} ended by itself with {child.exitcode}")
            self._kill(child)
            children[name] = self._start(home, name)
        zombie = self.dice.choice(names) if self.dice.random() < 0.3 else None
        for name, child in children.items():
            if name == zombie:
                self._signal(child, signal.SIGSTOP)
            else:
                self._kill(child)
        return children.get(zombie) if zombie else None

    @contextlib.contextmanager
    def _zombie(self, child: Any) -> Iterator[None]:
        """A writer that was paused goes on in the middle of what is done meanwhile, and is killed in the end."""
        if child is None:
            yield
            return
        self.counts["zombies"] += 1
        wake = threading.Timer(self.dice.uniform(0.0, 1.0), self._signal, (child, signal.SIGCONT))
        wake.start()
        yield
        wake.join()
        self._kill(child)

    def _kill(self, child: Any) -> None:
        self._signal(child, signal.SIGKILL)
        child.join()
        self.counts["kills"] += child.exitcode == -signal.SIGKILL

    def _signal(self, child: Any, what: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if child.pid is not None and child.exitcode is None:
                os.kill(child.pid, what)

    def _mend(self, home: Path, past: Path, *, alone: bool) -> None:
        """Damage the home, or not, and do what a person would: open it, and repair it unless it mends by itself."""
        kind = self.dice.choice((*QUIET, *damage_kinds.FILE, *damage_kinds.HOME))
        at = Home(home)
        if self.servers and kind in ("catalog rolled back", "catalog damaged"):
            kind = "nothing"  # a database server's own business
        if self.servers and kind == "catalog deleted":
            self.servers.lose_catalog(at.spec)
        self._doing = kind
        if kind != "nothing" and not (self.servers and kind == "catalog deleted"):
            self._doing = damage_kinds.hurt(kind, home, past, self.dice)
        self.counts[f"damage: {kind}"] += 1
        if alone:
            self._served(home, "before it is mended")
        if not self.servers and kind in MENDED_BY_OPENING:
            started = time.monotonic()
            at.open().close()
            self.opening.append(time.monotonic() - started)
        elif not (done := at.repair()).whole:
            self._say(f"repair left out {done.refused | done.away}")

    def _check(self, home: Path) -> int:
        """Everything acknowledged is served, nothing else is, and nothing is wrong. Returns the version."""
        at = Home(home)
        started = time.monotonic()
        with at.open() as writer:
            self.opening.append(time.monotonic() - started)
            head = writer.head().version
        self.counts["rounds"] += 1
        for finding in at.findings():
            self._say(f"verify: {finding}")
        found = self._served(home, "afterwards")
        for path in sorted((home / "acks").glob("*.jsonl")):
            diary = soak_child.Diary(home, path.stem)
            seen = {uri: " ".join(found[uri]) if uri in found else None for uri in diary.allowed()}
            diary.note(acked=0, docs={}, settled=seen)
        return head

    def _served(self, home: Path, when: str) -> dict[str, list[str]]:
        """What a reader finds; says what should be there and is not, or is there and should not."""
        at = Home(home)
        with Reader.open(*at.stores().values(), report=lambda _: None) as reader:
            version = reader.version
            found = served(reader.manifest, at.stores())
        for path in sorted((home / "acks").glob("*.jsonl")):
            diary = soak_child.Diary(home, path.stem)
            if version < diary.acked[1]:
                self._say(f"{when}, version {diary.acked[1]} was acknowledged and {version} is served")
            for uri, allowed in diary.allowed().items():
                content = " ".join(found[uri]) if uri in found else None
                if content not in allowed:
                    self._say(f"{when}, {uri} is {content!r} and must be one of {allowed!r}")
        return found

    def _say(self, what: str) -> None:
        self.wrong.append(f"{self._doing}: {what}")

    def figures(self) -> dict[str, Any]:
        took = sorted(self.opening)
        return {
            **{name: self.counts[name] for name in ("kills", "stops", "zombies", "rounds", "commits acknowledged")},
            "damage": {k.removeprefix("damage: "): n for k, n in sorted(self.counts.items()) if k[:8] == "damage: "},
            "recovery_p50_s": round(statistics.median(took), 3) if took else None,
            "recovery_p99_s": round(took[math.ceil(0.99 * len(took)) - 1], 3) if took else None,
            "recovery_max_s": round(took[-1], 3) if took else None,
            "wrong": self.wrong,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="replays the dice; not the machine's timing")
    parser.add_argument("--servers", action="store_true", help="N=3, W=2, one replica on S3, the catalog in PostgreSQL")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    os.chdir(ROOT)  # where the children's imports start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = Path(tempfile.mkdtemp(prefix="penstock-soak-"))
    started = time.monotonic()
    with servers.running(seed) if options.servers else nullcontext() as far:
        soak = Soak(work, seed, far)
        soak.run(options.seconds)
    result = {"seed": seed, "seconds": round(time.monotonic() - started, 1), **soak.figures()}
    if soak.wrong:
        result["kept"] = str(work)
    else:
        shutil.rmtree(work)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
