#!/usr/bin/env python3
"""Runs that died unseen, on a real server: a killed one is marked as crashed in time, a live one is not.

    python -m tests.proof.zombie [--outage SECONDS]

With the automations as `penstock deploy` installs them. One run's process and its worker are killed at once, so that
nobody reports; another goes on, slowly, for longer than the silence that counts as death, and through an outage of the
server. About four minutes. Prints one JSON object; exits 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.flows.deploying import services
from penstock.index.reading.reader import Reader
from tests.fakes.embeddings_server import Embeddings
from tests.fakes.rough.serving import Serving
from tests.flows.prefect_server import BIN, FINAL, Prefect, asked

SILENCE = 90.0
LATEST = 2 * SILENCE
"""Seconds after the kill: the last sign of life may be just before it, and the server looks every few seconds."""
PATIENCE = 240.0
CONFIG = """
home = "{home}"
[embed]
model = "fake-embed"
chunk_tokens = 256
[embed.endpoint]
url = "{url}/v1"
allow = ["127.0.0.0/8"]
max_items = 1
concurrency = 1
[prefect]
maintenance = false
schedule = "none"
zombie_seconds = 90
[sources.{name}]
path = "{name}"
"""


class Proof:
    """A server, a worker of which only the doomed run knows, another one, and what was seen."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.prefect = folder, Prefect(folder)
        self.prefect.environment["PREFECT_HOME"] = str(folder / "prefect")
        self.url, self.seen, self.broken = url, {}, []
        self.server: Any = None
        self.seen: dict[str, Any] = {}
        self.broken: list[str] = []

    def serve(self) -> None:
        self.server = self.prefect.start("server", "start", "--port", str(self.prefect.port), cwd=self.folder)
        self.prefect.until_it_answers()

    def deploy(self, name: str, documents: int) -> None:
        """A source of so many documents, and its deployment."""
        (self.folder / name).mkdir()
        for number in range(documents):
            text = " ".join(f"{name} {number} says in sentence {line} what is kept." for line in range(12))
            (self.folder / name / f"{number:05}.txt").write_text(text)
        config = self.folder / f"{name}.toml"
        config.write_text(CONFIG.format(home=self.folder / f"home-{name}", url=self.url, name=name))
        done = self.prefect.command(
            BIN / "penstock", "deploy", "--json", "--config", config, "--take-over", cwd=self.folder
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str) -> str:
        """The id of a run of that source, at work."""
        done = self.prefect.command(
            BIN / "prefect", "deployment", "run", f"penstock-ingest/ingest-{name}", cwd=self.folder
        )
        assert done.returncode == 0, done.stderr
        newest = max(self.prefect.runs().values(), key=lambda run: run["created"])["id"]
        self.until(lambda: self.run(newest)["state_name"] == "Running")
        self.until(lambda: self.indexed(name) or (self.folder / f"home-{name}" / "spool").exists())
        return str(newest)

    def run(self, run: str) -> dict[str, Any]:
        said: dict[str, Any] = asked("GET", f"{self.prefect.url}/flow_runs/{run}").json()
        return said

    def indexed(self, name: str) -> int:
        try:
            with Reader.open(self.folder / f"home-{name}") as reader:
                return int(reader.manifest.counts.get("documents", 0))
        except Exception:
            return 0

    def until(self, true: Callable[[], Any], seconds: float = PATIENCE) -> bool:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def beats(self, run: str) -> int:
        filtered = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
        return len(self.prefect.ask("events/filter", filter=filtered)["events"])

    def promise(self, held: bool, what: str) -> None:
        if not held:
            self.broken.append(what)


def processes(run: str) -> list[services.Marked]:
    """Every process of the flow run: whoever has its id in the environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"PREFECT__FLOW_RUN_ID={run}".encode() in (folder / "environ").read_bytes():
                found.append(services.Marked(int(folder.name), 0, run))
        except OSError:
            continue
    return found


def prove(proof: Proof, app: Embeddings, outage: float) -> None:
    proof.serve()
    proof.deploy("killed", 2000)
    worker = proof.prefect.start("worker", "start", "--pool", "penstock", "--name", "doomed", cwd=proof.folder)
    app.latency = 0.3
    killed = proof.start("killed")
    proof.until(lambda: proof.beats(killed))
    os.killpg(worker.pid, signal.SIGKILL)
    services.kill(processes(killed), proof.folder)
    at = time.monotonic()
    worker.wait()

    proof.deploy("living", 900)
    proof.prefect.start("worker", "start", "--pool", "penstock", "--name", "living", cwd=proof.folder)
    living = proof.start("living")
    begun = time.monotonic()
    crashed = proof.until(lambda: proof.run(killed)["state_type"] == "CRASHED", LATEST)
    proof.seen["seconds to crashed"] = round(time.monotonic() - at, 1)
    proof.seen["killed run"] = proof.run(killed)["state"]["message"]
    proof.promise(crashed, f"the killed run is {proof.run(killed)['state_name']} after {LATEST:.0f} s")
    proof.promise(proof.until(lambda: fired(proof, "zombie run"), 30), "the automation did not fire")
    proof.promise(proof.until(lambda: fired(proof, "run failed"), 30), "nobody was paged for the crashed run")

    proof.until(lambda: time.monotonic() - begun > SILENCE * 1.2 or proof.run(living)["state_type"] in FINAL)
    proof.promise(proof.run(living)["state_name"] == "Running", f"the live run is {proof.run(living)['state_name']}")
    os.killpg(proof.server.pid, signal.SIGKILL)
    proof.server.wait()
    time.sleep(outage)
    proof.serve()
    time.sleep(10)
    proof.seen["after the outage"] = proof.run(living)["state_name"]
    app.latency = 0.0
    proof.promise(proof.until(lambda: proof.run(living)["state_type"] in FINAL), "the live run does not end")
    time.sleep(5)
    proof.seen["live run"] = proof.run(living)["state_name"]
    proof.seen["live run's heartbeats"] = proof.beats(living)
    proof.promise(
        proof.run(living)["state_type"] == "COMPLETED", f"the live run ended {proof.run(living)['state_name']}"
    )
    proof.promise(proof.indexed("living") == 900, f"{proof.indexed('living')} of 900 documents are indexed")


def fired(proof: Proof, name: str) -> bool:
    told = {"event": {"name": ["prefect.automation.triggered"]}}
    found = proof.prefect.ask("events/filter", filter=told)["events"]
    return any(each["resource"]["prefect.resource.name"] == f"penstock: {name}" for each in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outage", type=float, default=45.0, metavar="SECONDS", help="of the server (default: 45)")
    outage = parser.parse_args().outage
    app = Embeddings()
    with tempfile.TemporaryDirectory(prefix="penstock-zombie-") as folder, Serving(app) as endpoint:  # type: ignore[arg-type]
        proof = Proof(Path(folder), endpoint.url)
        try:
            prove(proof, app, outage)
        finally:
            for run in proof.prefect.runs() if proof.server and proof.server.poll() is None else ():
                services.kill(processes(run), Path(folder))
            proof.prefect.end()
    print(json.dumps({**proof.seen, "broken": proof.broken}))
    return 1 if proof.broken else 0


if __name__ == "__main__":
    sys.exit(main())
