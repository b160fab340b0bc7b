"""A server, a worker and a deployment that ingests for as long as is wanted, and all that can be done to them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from penstock.index.reading.reader import Reader
from tests.flows.ingest_child import Child
from tests.flows.prefect_server import BIN, FINAL, Prefect, asked, patience

ROOT = Path(__file__).parents[2]
POOL = "crashes"
ENTRYPOINT = "tests.flows.crash_flow:ingest"


class Crashes(Prefect):
    """The server can be taken away and come back, with all it knew. One deployment, run with the parameters given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment["PREFECT_SERVER_DATABASE_TIMEOUT"] = "60"
        self.environment["PREFECT_LOGGING_LEVEL"] = "INFO"
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.deployment = ""

    def serve(self) -> None:
        self.server = self.start("server", "start", "--port", str(self.port), cwd=self.folder)
        self.until_it_answers()

    def lose_server(self) -> None:
        kill(self.server)

    def restore(self) -> None:
        """Server and worker are there again, if one was taken away."""
        if self.server is None or self.server.poll() is not None:
            self.serve()
        if self.worker is None or self.worker.poll() is not None:
            self.work()

    def prepare(self, entrypoint: str = ENTRYPOINT) -> None:
        """The work pool and the deployment."""
        done = self.command(BIN / "prefect", "work-pool", "create", POOL, "--type", "process", cwd=self.folder)
        assert done.returncode == 0, done.stderr + done.stdout
        flow = self.post("flows/", {"name": "penstock-ingest"})["id"]
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
        said = {"name": "crash", "flow_id": flow, "entrypoint": entrypoint, "path": str(ROOT), "pull_steps": [step]}
        said |= {"work_pool_name": POOL, "enforce_parameter_schema": False}
        self.deployment = self.post("deployments/", said)["id"]

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return asked("POST", f"{self.url}/{path}", body).json()

    def work(self) -> None:
        self.worker = self.start("worker", "start", "--pool", POOL, cwd=self.folder)

    def submit(self, world: World) -> str:
        """The id of a new flow run over all documents of `world`."""
        said = {
            "idempotency_key": str(uuid4()),
            "state": {"type": "SCHEDULED"},
            "parameters": {"sources": [str(world.docs)], "home": str(world.home), "config": str(world.config)},
            "job_variables": {"env": world.environ()},
        }
        return str(self.post(f"deployments/{self.deployment}/create_flow_run", said)["id"])

    def state(self, run: str) -> tuple[str, str]:
        """(type, name) of the run's state."""
        found = asked("GET", f"{self.url}/flow_runs/{run}").json()
        return found["state_type"], found["state_name"]

    def ended(self, run: str) -> dict[str, Any]:
        for _ in patience():
            found: dict[str, Any] = asked("GET", f"{self.url}/flow_runs/{run}").json()
            if found["state_type"] in FINAL:
                return found["state"]
        raise AssertionError

    def tasks(self, run: str) -> Counter[str]:
        """Task runs by state."""
        found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [run]}}, limit=200)
        return Counter(task["state_type"] for task in found)

    def cancel(self, run: str) -> None:
        self.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


class World:
    """Documents, a home, and what is embedded of them."""

    def __init__(self, folder: Path, documents: int = 40, **child: Any) -> None:
        self.docs, self.home, self.embedded = folder / "docs", folder / "home", folder / "embedded.txt"
        self.slots = folder / "slots"
        self.docs.mkdir(parents=True)
        self.config = folder / "penstock.toml"
        self.config.write_text("[prefect]\npaths_anywhere = true\n")
        self.documents = documents
        for number in range(documents):
            text = " ".join(f"Document {number} says in sentence {line} what is kept." for line in range(12))
            (self.docs / f"{number:04}.txt").write_text(text)
        self.child = Child(str(self.home), [str(self.docs)], embedded=str(self.embedded), **child)

    def environ(self) -> dict[str, str]:
        return {"PENSTOCK_TEST_CHILD": msgspec.json.encode(self.child).decode(), "PENSTOCK_SLOTS": str(self.slots)}

    def version(self) -> int:
        """What a reader sees of a home that may be in the making."""
        try:
            with Reader.open(self.home) as reader:
                return int(reader.manifest.version)
        except Exception:
            return 0

    def indexed(self) -> int:
        try:
            with Reader.open(self.home) as reader:
                return int(reader.manifest.counts.get("documents", 0))
        except Exception:
            return 0

    def twice(self) -> int:
        """How many passages were embedded more than once."""
        counts = Counter(self.embedded.read_text().split())
        return sum(count > 1 for count in counts.values())

    def until_version(self, version: int) -> None:
        until(lambda: self.version() >= version)


def until(true: Any, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def flow_process(world: World) -> int:
    """The pid of the process that runs the flow for `world`."""
    wanted = str(world.home).encode()
    for _ in patience():
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and is_engine(entry, wanted):
                return int(entry.name)
    raise AssertionError


def is_engine(entry: Path, home: bytes) -> bool:
    try:
        return b"prefect" in (entry / "cmdline").read_bytes() and home in (entry / "environ").read_bytes()
    except OSError:
        return False


@contextmanager
def command(prefect: Prefect, world: World, environ: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[str]]:
    """`penstock ingest` from the command line, recorded there."""
    process = subprocess.Popen(
        [str(BIN / "python"), "-m", "tests.flows.ingest_child", msgspec.json.encode(world.child).decode()],
        cwd=ROOT,
        env={**prefect.environment, "PENSTOCK_SLOTS": str(world.slots), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
