#!/usr/bin/env python3
"""Runs in Prefect whose server, worker or process dies, or whose databases are locked, at full length.

    python -m tests.proof.operations [--away 60] [--locked 20] [--only NAME]…

A real server, worker, flow processes and homes; only the model and the size of shards are not real, so that a run lasts
as long as is needed on any machine. Each case holds the same promises: committed work stays, nothing is embedded twice
(but what a SIGKILL took with it: one batch), the run ends in a state that is true, and the next one goes on. Prints one
JSON object; exits 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.flows.crash_world import Crashes, World, command, flow_process, gone, kill, until

SHARD = {"batch_seconds": 0.5, "shard_tokens": 400}
"""Four documents a shard, about half a second each."""
BATCH = 8
KILLS = 3


class Broken(Exception):
    """A promise was not kept."""


class Operations:
    """One server and worker; a case has a home of its own."""

    def __init__(self, prefect: Crashes, folder: Path, away: float, locked: float) -> None:
        self.prefect, self.folder, self.away, self.locked = prefect, folder, away, locked

    def server_killed(self) -> dict[str, Any]:
        """Down for as long as `--away` says: shards are committed meanwhile, and the end is told when it is back."""
        with self._under_way("server-killed", self.away) as (world, run):
            self.prefect.lose_server()
            meanwhile = _commits(world, self.away)
            self.prefect.serve()
            return self._completes(world, run, meanwhile)

    def server_frozen(self) -> dict[str, Any]:
        """It takes connections and answers nothing: the same."""
        with self._under_way("server-frozen", self.away) as (world, run):
            assert self.prefect.server is not None
            os.killpg(self.prefect.server.pid, signal.SIGSTOP)
            try:
                meanwhile = _commits(world, self.away)
            finally:
                os.killpg(self.prefect.server.pid, signal.SIGCONT)
            return self._completes(world, run, meanwhile)

    def server_locked(self) -> dict[str, Any]:
        """Its database is somebody else's for a while."""
        with self._under_way("server-locked", self.locked) as (world, run):
            with _locked(Path(self.prefect.environment["PREFECT_HOME"]) / "prefect.db"):
                meanwhile = _commits(world, self.locked)
            return self._completes(world, run, meanwhile)

    def catalog_locked(self) -> dict[str, Any]:
        """Our own catalog is: nothing is committed, the run waits, and goes on."""
        with self._under_way("catalog-locked", self.locked) as (world, run):
            with _locked(world.home / "catalog.db"):
                meanwhile = _commits(world, self.locked)
            if meanwhile > 1:
                raise Broken(f"{meanwhile} commits while the catalog was locked")
            return self._completes(world, run, None)

    def worker_killed(self) -> dict[str, Any]:
        """Its run goes on, another worker starts another run of the source: never both at the same time."""
        with self._under_way("worker-killed", 20) as (world, run):
            kill(self.prefect.worker)
            self.prefect.work()
            second = self.prefect.submit(world)
            said = self._completes(world, run, None)
            state = self.prefect.ended(second)
            if f"{world.documents} unchanged" not in state["message"]:
                raise Broken(f"the second run: {state['name']}, {state['message']}")
            return said

    def flow_killed(self) -> dict[str, Any]:
        """Three times in a row: each is Crashed, the next goes on."""
        world = World(self.folder / "flow-killed", 160, **SHARD)
        for time_ in range(1, KILLS + 1):
            run = self.prefect.submit(world)
            world.until_version(world.version() + 2)
            os.kill(flow_process(world), signal.SIGKILL)
            state = self.prefect.ended(run)
            if state["type"] != "CRASHED":
                raise Broken(f"kill {time_}: {state['type']}")
        return self._goes_on(world, BATCH * KILLS) | {"kills": KILLS}

    def cancelled(self) -> dict[str, Any]:
        return self._asked("cancelled", lambda run, process: self.prefect.cancel(run), "Cancelled")

    def terminated(self) -> dict[str, Any]:
        return self._asked("terminated", lambda run, process: os.kill(process, signal.SIGTERM), "Stopped")

    def _asked(self, name: str, ask: Callable[[str, int], None], wanted: str) -> dict[str, Any]:
        with self._under_way(name, 60) as (world, run):
            process = flow_process(world)
            started = time.monotonic()
            ask(run, process)
            until(partial(gone, process), 60)
            seconds = time.monotonic() - started
            state = self.prefect.ended(run)
            if state["name"] != wanted or seconds > 25:
                raise Broken(f"{state['name']} after {seconds:.0f} s")
            return self._goes_on(world, 0) | {"seconds_to_end": round(seconds, 1)}

    @contextmanager
    def _under_way(self, name: str, seconds: float) -> Iterator[tuple[World, str]]:
        """A run that goes on for longer than `seconds` from here, once it committed something."""
        world = World(self.folder / name, int(40 + seconds * 8), **SHARD)
        run = self.prefect.submit(world)
        world.until_version(2)
        yield world, run

    def _completes(self, world: World, run: str, meanwhile: int | None) -> dict[str, Any]:
        if meanwhile is not None and meanwhile < 2:
            raise Broken(f"only {meanwhile} commits meanwhile: the run stood still")
        state = self.prefect.ended(run)
        if state["name"] != "Completed" or f"{world.documents} indexed" not in state["message"]:
            raise Broken(f"{state['name']}: {state['message']}")
        if world.indexed() != world.documents or world.twice():
            raise Broken(f"{world.indexed()} of {world.documents} are indexed, {world.twice()} were embedded twice")
        return {"documents": world.documents, "commits_meanwhile": meanwhile}

    def _goes_on(self, world: World, twice: int) -> dict[str, Any]:
        """The next run ends it, without Prefect, and embeds at most `twice` passages again."""
        world.child.batch_seconds = 0.0
        with command(self.prefect, world, {"PREFECT_API_URL": ""}) as process:
            _, err = process.communicate(timeout=300)
        if process.returncode or world.indexed() != world.documents or world.twice() > twice:
            raise Broken(f"the next run: {process.returncode}, {world.indexed()}, {world.twice()} twice; {err[-500:]}")
        return {"documents": world.documents, "embedded_twice": world.twice()}


def _commits(world: World, seconds: float) -> int:
    """How many versions were made in so many seconds from now."""
    before = world.version()
    time.sleep(seconds)
    return world.version() - before


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, nobody else reads or writes this SQLite database."""
    with sqlite3.connect(path, timeout=30, isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
    connection.close()


CASES = (
    "server_killed",
    "server_frozen",
    "server_locked",
    "catalog_locked",
    "worker_killed",
    "flow_killed",
    "cancelled",
    "terminated",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--away", type=float, default=60.0, help="seconds without a server")
    parser.add_argument("--locked", type=float, default=20.0, help="seconds with a locked database")
    parser.add_argument("--only", action="append", choices=CASES, default=[])
    parser.add_argument("--json", action="store_true", help="is always so")
    options = parser.parse_args()
    said: dict[str, Any] = {}
    broken: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-operations-", ignore_cleanup_errors=True) as place:
        prefect = Crashes(Path(place))
        try:
            prefect.serve()
            prefect.prepare()
            prefect.work()
            operations = Operations(prefect, Path(place), options.away, options.locked)
            for case in options.only or CASES:
                print(f"operations: {case}", file=sys.stderr, flush=True)
                try:
                    said[case] = getattr(operations, case)()
                except (Broken, AssertionError) as error:
                    broken[case] = str(error)
        finally:
            prefect.end()
    print(json.dumps({"operations": said, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
