"""A real Prefect server and worker in a folder of their own, for the benchmarks of what runs under Prefect."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import family
import figures
import httpx
import machine

from penstock.index.errors import IndexFault
from penstock.index.reading.reader import Reader
from tests.flows.prefect_server import BIN, FINAL, Prefect

POOL = "penstock"
EVERY = 30.0
"""Seconds between two lines of progress."""
LOOK = 1.0
"""Seconds between two looks at a run. Each costs the server a few milliseconds."""


class Broke(Exception):
    """What was to be measured did not happen; the message says why."""


Measured = dict[str, Any]
"""The figures of a benchmark, as they are printed; `targets`: each with "met" or "MISSED" before its figure."""


def carried_out(
    name: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[Path, argparse.Namespace], Measured],
    rows: Callable[[Measured], list[tuple[str, str]]],
) -> int:
    """Measure in a scratch folder, print it and put it into the page; the exit code."""
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to work (default: the temporary folder)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix=f"penstock-{name}-", dir=args.scratch))
    try:
        found = measure(scratch, args)
    except (Broke, BrokenExecutor, TimeoutError, httpx.HTTPError) as broke:
        print(f"bench/{name}.py: {broke}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if args.page:
        figures.put(args.page, name, figures.markdown(found, rows(found)))
    if args.json:
        print(json.dumps(found))
    else:
        machine.show(found)
    return 0 if all(line.startswith("met") for line in found["targets"].values()) else 1


class Service:
    """Server and worker. `server` and `worker` are their process ids."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._prefect = Prefect(folder)
        self.folder, self.environment = folder, self._prefect.environment
        self.environment.pop("OMP_NUM_THREADS", None)  # as somebody has it who sets nothing
        self.environment |= {
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            **environment,
        }
        self.server = self.worker = 0

    def start(self, first: Path) -> None:
        """The server, the deployments of `first`'s configuration, and a worker."""
        where = self.folder
        self.server = self._prefect.start("server", "start", "--port", str(self._prefect.port), cwd=where).pid
        self._prefect.until_it_answers()
        self.deploy(first)
        self.worker = self._prefect.start("worker", "start", "--pool", POOL, cwd=where).pid

    def deploy(self, config: Path) -> None:
        """`penstock deploy`; what has a schedule is paused, so that only what is measured runs. Raises `Broke`."""
        words = ("deploy", "--take-over", "--config", config)
        done = self._prefect.command(BIN / "penstock", *words, cwd=config.parent)
        if done.returncode:
            raise Broke(f"penstock deploy ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
        for each in self.ask("deployments/filter"):
            if each["schedules"]:
                httpx.patch(f"{self._prefect.url}/deployments/{each['id']}", json={"paused": True}, timeout=60)

    def ask(self, path: str, **filters: Any) -> Any:
        return self._prefect.ask(path, **filters)

    def redeploy(self, flow: str, deployment: str, entrypoint: str) -> None:
        """Let that deployment run another function in the place of its own."""
        there = self._deployment(flow, deployment)["id"]
        changed = {"entrypoint": entrypoint}
        httpx.patch(f"{self._prefect.url}/deployments/{there}", json=changed, timeout=60).raise_for_status()

    def _deployment(self, flow: str, deployment: str) -> dict[str, Any]:
        url = f"{self._prefect.url}/deployments/name/{flow}/{deployment}"
        found: dict[str, Any] = httpx.get(url, timeout=60).raise_for_status().json()
        return found

    def submit(self, flow: str, deployment: str, parameters: dict[str, Any]) -> str:
        """The id of a new flow run of that deployment."""
        url = f"{self._prefect.url}/deployments/{self._deployment(flow, deployment)['id']}/create_flow_run"
        made = httpx.post(url, json={"parameters": parameters, "state": {"type": "SCHEDULED"}}, timeout=60)
        return str(made.raise_for_status().json()["id"])

    def run(self, flow_run: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self._prefect.url}/flow_runs/{flow_run}", timeout=60).json()
        return found

    def until_final(
        self, flow_run: str, seconds: float, meanwhile: Callable[[], str] = str, look: float = LOOK
    ) -> dict[str, Any]:
        """Wait for its end, with a line of progress now and then. Raises `Broke` after `seconds`."""
        began = said = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            found = self.run(flow_run)
            if found["state_type"] in FINAL:
                return found
            if now - said >= EVERY:
                said = now
                machine.say(f"{now - began:5.0f} s: {found['state_name'].lower()}; {meanwhile()}")
            time.sleep(look)
        raise Broke(f"{found['name']} was still {found['state_name']} after {seconds:.0f} s; {self.logs()}")

    def tasks(self, flow_run: str) -> list[dict[str, Any]]:
        """All task runs of a flow run."""
        found: list[dict[str, Any]] = []
        while True:
            chosen = {"flow_runs": {"id": {"any_": [flow_run]}}, "limit": 200, "offset": len(found), "sort": "ID_DESC"}
            some = self.ask("task_runs/filter", **chosen)
            found += some
            if len(some) < 200:
                return found

    def database(self) -> int:
        """Bytes of the server's SQLite files."""
        return sum(file.stat().st_size for file in (self.folder / "prefect").glob("prefect.db*"))

    def logs(self) -> str:
        """The end of what the worker said."""
        return (self.folder / "worker.log").read_text(errors="replace")[-1500:]

    def close(self) -> None:
        """End everything, the flows too, which have sessions of their own."""
        below = {pid: at for root in (self.server, self.worker) if root for pid, at in family.members(root).items()}
        self._prefect.end()
        family.end(below)


@contextmanager
def started(folder: Path, config: Path, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[Service]:
    """`environment`: what its processes have beside ours."""
    folder.mkdir(parents=True)
    service = Service(folder, environment)
    try:
        service.start(config)
        yield service
    finally:
        service.close()


def project(folder: Path, texts: Path, priority: str, text: str = "") -> Path:
    """A project folder with one source, `texts`; its configuration. `text`: more of the configuration."""
    folder.mkdir(parents=True)
    config = folder / "penstock.toml"
    source = f'[sources.texts]\ntype = "files"\npath = "{texts}"\npriority = "{priority}"\nschedule = "none"\n'
    config.write_text(f'home = "home"\n\n{source}{text}')
    return config


def command(*words: str | Path, config: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A command of penstock's that runs now; it answers in JSON on stdout, and says what it does to a file."""
    with open(config.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [str(BIN / "penstock"), *map(str, words), "--config", str(config), "--json"],
            cwd=config.parent,
            env=environment | {"PWD": str(config.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def answer(
    process: subprocess.Popen[str], seconds: float, meanwhile: Callable[[], str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Its exit code and what it said; `meanwhile` is said now and then. Raises `Broke` after `seconds`, and ends it."""
    began, said = time.monotonic(), ""
    while True:
        passed = time.monotonic() - began
        try:
            said, _ = process.communicate(timeout=max(0.1, min(EVERY, seconds - passed)))
            break
        except subprocess.TimeoutExpired:
            passed = time.monotonic() - began
            if passed >= seconds:
                family.end(family.members(process.pid))
                process.wait()
                raise Broke(f"{process.args} did not end within {seconds:.0f} s") from None
            if meanwhile is not None:
                machine.say(f"{passed:5.0f} s: {meanwhile()}")
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        found = {}
    return process.returncode, found


def alone(environment: dict[str, str]) -> dict[str, str]:
    """The same, with no Prefect to be recorded at."""
    return {name: value for name, value in environment.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_API_URL": ""
    }


def calibrated(scratch: Path, texts: list[Path], environment: dict[str, str]) -> tuple[float, float]:
    """(tokens a second, tokens a byte) of an ingest of about a minute of these texts: what sizes the measured run."""
    folder = scratch / "calibration"
    (folder / "texts").mkdir(parents=True)
    for number, path in enumerate(texts):
        (folder / "texts" / f"{number}.txt").write_bytes(path.read_bytes())
    config = project(folder / "project", folder / "texts", "scheduled")
    ingest = command("ingest", "--budget", "minutes=1", config=config, environment=alone(environment))
    code, account = answer(ingest, 900)
    found = indexed(folder / "project" / "home") if code in (0, 1) else {"tokens": 0}
    if not found["tokens"]:
        log = config.with_suffix(".log").read_text()[-1500:]
        raise Broke(f"the ingest that sizes the run ended with {code}: {log}")
    return account["embedded_tokens"] / account["stage_seconds"]["embed"], found["tokens"] / found["bytes"]


def indexed(home: Path) -> dict[str, int]:
    """What is in the index: `documents` indexed, `others` not, their `bytes`, `tokens` and `chunks`, the `version`."""
    with Reader.open(home) as reader:
        states = list(reader.states())
        good = [state for state in states if state.status == "indexed"]
        return {
            "documents": len(good),
            "others": len(states) - len(good),
            "bytes": sum(state.size for state in good),
            "tokens": sum(state.tokens for state in good),
            "chunks": sum(state.chunks for state in good),
            "version": reader.version,
        }


class Progress:
    """Says how far the index in a home is; cheap enough to be asked each second."""

    def __init__(self, home: Path) -> None:
        self._home, self._reader = home, None

    @property
    def reader(self) -> Reader | None:
        """One that follows; None while there is nothing to read."""
        if self._reader is None:
            try:
                self._reader = Reader.open(self._home, report=lambda line: None)
            except (IndexFault, OSError):
                return None
        return self._reader

    def version(self) -> int:
        """The newest, 0 while nothing is committed."""
        if self.reader is None:
            return 0
        self.reader.refresh()
        return self.reader.version

    def __call__(self) -> str:
        if self.reader is None or not self.version():
            return "nothing is committed yet"
        counts = self.reader.manifest.counts
        return f"version {self.reader.version}, {counts.get('documents', 0):,} documents are searchable"

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
