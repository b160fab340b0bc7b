"""A real Prefect server with a home of its own, and whatever is started against it. For tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

BIN = Path(sys.executable).parent
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SECONDS = 240.0
"""The patience for anything here: far beyond what it takes."""


class Prefect:
    """A server of our own, with its own home. Ends with everything that was started through it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "2",
            "PENSTOCK_SLOTS": str(folder / "slots"),
        }

    def start(self, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
        """Start a process that stays, in a process group of its own; its output goes to a file."""
        with open(self.folder / f"{words[0]}.log", "ab") as log:
            process = subprocess.Popen(
                [BIN / "prefect", *words],
                cwd=cwd,
                env=self.environment | {"PWD": str(cwd)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def command(self, *words: str | Path, cwd: Path, url: str | None = None) -> subprocess.CompletedProcess[str]:
        # As a shell does: prefect.yaml takes the folder to run in from $PWD.
        environment = self.environment | {"PWD": str(cwd), "PREFECT_API_URL": self.url if url is None else url}
        return subprocess.run(
            [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS
        )

    def ask(self, path: str, **filters: Any) -> Any:
        return asked("POST", f"{self.url}/{path}", filters).json()

    def runs(self) -> dict[str, dict[str, Any]]:
        """Every flow run that somebody asked for, by id; a schedule may start others at any time."""
        return {run["id"]: run for run in self.ask("flow_runs/filter") if not run["auto_scheduled"]}

    def until_it_answers(self) -> None:
        for _ in patience():
            try:
                if httpx.get(f"{self.url}/health", timeout=5).is_success:
                    return
            except httpx.HTTPError:
                pass

    def until_final(self, run: str) -> dict[str, Any]:
        for _ in patience():
            state = self.runs()[run]
            if state["state_type"] in FINAL:
                return state
        raise AssertionError

    def end(self) -> None:
        for process in reversed(self._started):
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def asked(method: str, url: str, body: Any = None) -> httpx.Response:
    """What the server answers; asked again while it has no answer, as Prefect's own client does.

    On SQLite a server at work now and then gave no answer for half a minute, or 503. What is made anew each time needs
    an `idempotency_key`.
    """
    for _ in patience():
        try:
            answer = httpx.request(method, url, json=body, timeout=30)
        except httpx.TimeoutException:
            continue
        if answer.status_code != 503:
            return answer.raise_for_status()
    raise AssertionError


def patience() -> Iterator[None]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(0.25)
    raise AssertionError(f"nothing came of it in {SECONDS:.0f} s")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
