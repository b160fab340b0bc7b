"""The system that the pictures are taken of: a project folder, brought up with `penstock up`, whose run nobody starts.

`tickets` is a JSON API on loopback: most of its documents are good, some have no text (rejected), some it does not let
anybody read, and on some it fails (failed). Its schedule is every minute; the first run does all the work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from penstock.flows.answers.exits import INTERRUPTED
from tests.fakes.json_api import Answer, Asked, JsonApi
from tests.flows.prefect_server import FINAL, free_port

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))

import family  # noqa: E402
import invented  # noqa: E402

EMPTY, FORBIDDEN, BROKEN = 4, 3, 2
"""Tickets without text, tickets that nobody may read, tickets on which the API fails."""
CHARACTERS = 2800
UP_SECONDS, RUN_SECONDS, DOWN_SECONDS = 180.0, 900.0, 120.0
"""How long anything may take on a machine that has other things to do."""
_CONFIG = """home = "home"

[sources.tickets]
type = "rest"
url = "{url}"
schedule = "* * * * *"
priority = "scheduled"
freshness = "1h"
network = {{ allow = ["127.0.0.1"], attempts = 2, retry_seconds = 10.0 }}

[[sources.tickets.collections]]
name = "issues"
list = "/page/items"
paging = {{ kind = "page", limit = "per_page", size = 100, twice = false }}
items = "items"
total = "total"
updated = "at"
detail = "/items/{{id}}"
object = "item"
title = "{{subject}}"
body = "{{text}}"

[sources.handbook]
type = "files"
path = "handbook"
priority = "urgent"
freshness = "1d"
"""


class Broken(Exception):
    """The system did not do what it has to."""


@dataclass
class System:
    """One that is up. `url` is the UI's; the API is below it."""

    folder: Path
    url: str
    expected: dict[str, int]
    """State of documents → how many, of the run of `tickets`."""
    run: dict[str, Any] = field(default_factory=dict)

    def ask(self, path: str, **filters: Any) -> Any:
        return httpx.post(f"{self.url}/api/{path}", json=filters, timeout=60).raise_for_status().json()

    def until_the_run_ended(self) -> None:
        """Wait for the end of the first run of `tickets` that began by itself. Raises `Broken`.

        While it runs, the schedule's next ones are cancelled before they begin.
        """
        flow = {"name": {"any_": ["penstock-ingest"]}}
        for _ in _patience(RUN_SECONDS):
            runs = [run for run in self.ask("flow_runs/filter", flows=flow) if "source:tickets" in run["tags"]]
            began = [run for run in runs if run["auto_scheduled"] and run["start_time"]]
            if began:
                self.run = min(began, key=lambda run: str(run["start_time"]))
                if self.run["state_type"] in FINAL:
                    return
        raise Broken(f"no scheduled run of tickets ended within {RUN_SECONDS:.0f} s: {self.run}")

    def artifacts(self) -> list[dict[str, Any]]:
        """Those of the run, the newest first: a picture that is drawn again is one more artifact of its key."""
        found: list[dict[str, Any]] = self.ask("artifacts/filter", flow_runs={"id": {"any_": [self.run["id"]]}})
        return sorted(found, key=lambda each: str(each["updated"]), reverse=True)

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.ask("deployments/filter")}


@contextmanager
def up(folder: Path, tickets: int) -> Iterator[System]:
    """`penstock up` in a folder with nothing but a configuration and documents; it is stopped as an operator stops it.

    Raises `Broken` if it does not come up, or leaves processes behind.
    """
    with served(tickets) as api:
        (folder / "penstock.toml").write_text(_CONFIG.format(url=api.url))
        invented.write(folder / "handbook", 12, CHARACTERS, first=10_000)
        port = free_port()
        with running(folder, port) as process:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(url, process, folder / "up.log")
            lost = FORBIDDEN + BROKEN
            expected = {"listed": tickets, "indexed": tickets - EMPTY - lost, "rejected": EMPTY, "failed": lost}
            yield System(folder, url, expected)


@contextmanager
def served(tickets: int) -> Iterator[JsonApi]:
    """The API, with so many tickets."""
    api, invents = JsonApi(), invented.inventor()
    for number in range(1, tickets + 1):
        title, _, text = invents.document(number, CHARACTERS).partition("\n\n")
        api.rows[str(number)] = {"id": str(number), "at": 1_700_000_000 + number, "subject": title, "text": text}
    ill = [str(round((n + 0.5) * tickets / (EMPTY + FORBIDDEN + BROKEN))) for n in range(EMPTY + FORBIDDEN + BROKEN)]
    for name in ill[:EMPTY]:
        api.rows[name] |= {"subject": "", "text": " "}
    forbidden, broken = set(ill[EMPTY : EMPTY + FORBIDDEN]), set(ill[EMPTY + FORBIDDEN :])

    def hook(asked: Asked) -> Answer | None:
        name = asked.path.removeprefix("/items/")
        if name in forbidden:
            return Answer({"error": "not for you"}, 403)
        return Answer({"error": "it is on fire"}, 500) if name in broken else None

    api.hook = hook
    with api.serving():
        yield api


@contextmanager
def running(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The one command. Raises `Broken` if something of it outlives it; nothing of it does in the end."""
    words = ("up", "--config", "penstock.toml", "--port", str(port))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with open(folder / "up.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock.flows.cli", *words],
            cwd=folder,
            env=clean | {"PENSTOCK_SLOTS": str(folder / "slots")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    below: dict[int, int] = {}
    try:
        yield process
        below = family.members(process.pid)
        process.send_signal(signal.SIGTERM)
        code = process.wait(DOWN_SECONDS)
        left = family.left(below)
        if code not in (0, INTERRUPTED) or left:
            raise Broken(f"penstock up ended with {code} and left {len(left)} processes: {_end(folder / 'up.log')}")
    except subprocess.TimeoutExpired:
        raise Broken(f"penstock up did not end within {DOWN_SECONDS:.0f} s: {_end(folder / 'up.log')}") from None
    finally:
        family.end(below | family.members(process.pid))
        process.wait()


def _until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in _patience(UP_SECONDS):
        if process.poll() is not None:
            raise Broken(f"penstock up ended with {process.returncode}: {_end(log)}")
        try:
            if httpx.get(f"{url}/api/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
    raise Broken(f"penstock up did not answer at {url}: {_end(log)}")


def _patience(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(1)


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
