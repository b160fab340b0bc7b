"""What people see in Prefect, looked at by a machine: `python -m tests.proof.screens [--into docs/pictures] [--json]`.

A project folder is brought up with the one command `penstock up`; a run that nobody starts does its work; then a
headless browser opens the pages that operators open, asserts what is on them, and takes the pictures of docs/tour.md.
What the pages must say is known beforehand (how many documents are good) or comes from the API. No request of any page
may leave this machine. Without Chromium nothing is looked at and nothing fails: it says so.

Exits 1 if a page lacks something; the pictures of the others are taken all the same. With `--json` the last line of
stdout is all of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.proof import browser
from tests.proof.browser import Browser, Missing
from tests.proof.screen_system import Broken, System, up

MOST_BYTES = 200_000
DEPLOYMENTS = ("ingest-tickets", "ingest-handbook", "backfill", "urgent", "retry", "compact", "scrub", "watch")
AUTOMATIONS = 8
"""At least so many, all of them ours."""
FIELDS = (
    "sources", "since", "until", "limit", "budget_tokens", "budget_minutes", "dry_run", "full", "confirm_deletions"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: `look` brings the browser there and raises `Missing`; it returns what was asserted."""

    name: str
    look: Callable[[System, Browser], list[str]]
    height: int = browser.HEIGHT


def dashboard(system: System, page: Browser) -> list[str]:
    wanted = ["Flow Runs", "Task Runs", "Active Work Pools", "penstock", "Completed"]
    page.visit(f"{system.url}/dashboard", *wanted)
    return wanted


def run_page(system: System, page: Browser) -> list[str]:
    """Its name says the source, its tags source and priority, its tasks the stages."""
    run = system.run
    if "tickets" not in run["name"] or not {"source:tickets", "priority:scheduled"} <= set(run["tags"]):
        raise Missing(f"the run is called {run['name']!r} and tagged {run['tags']}")
    wanted = [run["name"], run["state_name"], "source:tickets", "priority:scheduled", "ingest-tickets", "scheduled"]
    page.visit(f"{system.url}/runs/flow-run/{run['id']}", *wanted, "Artifacts", "Logs")
    return wanted


def artifacts_tab(system: System, page: Browser) -> list[str]:
    """Every artifact of the run, by its key or its description."""
    page.visit(f"{system.url}/runs/flow-run/{system.run['id']}", system.run["name"], "Artifacts")
    page.click("Artifacts")
    wanted = [each["key"] for each in system.artifacts() if each["key"]]
    page.until(*wanted)
    return wanted


def summary(system: System, page: Browser) -> list[str]:
    """The account: the figures that we made the source have, and those that the run says of itself."""
    artifact = _artifact(system, "markdown", "penstock-ingest")
    counts = [f"{state} {number}" for state, number in system.expected.items()]
    for state, number in system.expected.items():
        if f"{number} {state}" not in system.run["state"]["message"]:
            raise Missing(f"the run says {system.run['state']['message']!r}, not {number} {state}")
    wanted = [artifact["key"], *counts, "adds up", "forbidden", "server_error", "empty"]
    page.visit(f"{system.url}/artifacts/artifact/{artifact['id']}", *wanted)
    return wanted


def progress(system: System, page: Browser) -> list[str]:
    artifact = _artifact(system, "progress")
    if float(artifact["data"]) != 100.0:
        raise Missing(f"the run has ended, and its progress is {artifact['data']}")
    wanted = ["100%", *([artifact["description"].splitlines()[0].strip("#* ")] if artifact["description"] else [])]
    page.visit(f"{system.url}/artifacts/artifact/{artifact['id']}", *wanted)
    return wanted


def throughput(system: System, page: Browser) -> list[str]:
    """The picture in the picture: it loads, and has a size."""
    artifact = _artifact(system, "image")
    page.visit(f"{system.url}/artifacts/artifact/{artifact['id']}", artifact["key"])
    width, height = page.image()
    if min(width, height) < 100:
        raise Missing(f"the plot has {width} × {height} pixels")
    return [artifact["key"], f"an image of {width} × {height} pixels"]


def deployments(system: System, page: Browser) -> list[str]:
    lacking = set(DEPLOYMENTS) - system.deployments().keys()
    if lacking:
        raise Missing(f"these are not deployed: {sorted(lacking)}")
    page.visit(f"{system.url}/deployments", *DEPLOYMENTS)
    return list(DEPLOYMENTS)


def work_queues(system: System, page: Browser) -> list[str]:
    """The three, with the priorities by which they are picked up from."""
    wanted = ["urgent", "scheduled", "backfill", "Priority"]
    page.visit(f"{system.url}/work-pools/work-pool/penstock?tab=Work+Queues", "penstock")
    page.click("Work Queues")
    page.until(*wanted)
    queues = {each["name"]: each["priority"] for each in system.ask("work_pools/penstock/queues/filter")}
    if not queues["urgent"] < queues["scheduled"] < queues["backfill"]:
        raise Missing(f"the queues have the priorities {queues}")
    return [*wanted, f"priorities {queues}"]


def automations(system: System, page: Browser) -> list[str]:
    names = [each["name"] for each in system.ask("automations/filter") if each["name"].startswith("penstock: ")]
    if len(names) < AUTOMATIONS:
        raise Missing(f"these automations are there: {names}")
    page.visit(f"{system.url}/automations", *names)
    return names


def backfill_form(system: System, page: Browser) -> list[str]:
    """Every parameter has its field; what is of the wrong type is refused, with the field's name."""
    deployment = system.deployments()["backfill"]["id"]
    page.visit(f"{system.url}/deployments/deployment/{deployment}/run", *FIELDS)
    asked = {"parameters": {"limit": "many"}}
    refused = httpx.post(f"{system.url}/api/deployments/{deployment}/create_flow_run", json=asked, timeout=60)
    if refused.status_code not in (409, 422) or "limit" not in refused.text:
        raise Missing(f"limit = many was answered with {refused.status_code}: {refused.text[:300]}")
    return [*FIELDS, f"limit = many is refused with {refused.status_code}"]


def event_feed(system: System, page: Browser) -> list[str]:
    """Our events were told, and the feed shows a commit."""
    ours = system.ask("events/filter", filter={"event": {"prefix": ["penstock."]}})["events"]
    names = sorted({each["event"] for each in ours})
    if "penstock.commit" not in names:
        raise Missing(f"these events of ours were told: {names}")
    page.visit(f"{system.url}/events", "Event Feed", "penstock.commit")
    page.show("penstock.commit")
    return ["Event Feed", *names]


def _artifact(system: System, kind: str, key: str = "") -> dict[str, Any]:
    """The run's artifact of a kind. Raises `Missing`."""
    there = system.artifacts()
    found = [each for each in there if each["type"] == kind and (each["key"] or "").startswith(key)]
    if not found:
        raise Missing(f"the run has no {kind} artifact {key}; it has {[(e['type'], e['key']) for e in there]}")
    return found[0]


SHOTS = (
    Shot("dashboard", dashboard),
    Shot("run", run_page),
    Shot("run-artifacts", artifacts_tab),
    Shot("summary", summary, 1500),
    Shot("progress", progress, 500),
    Shot("throughput", throughput),
    Shot("deployments", deployments),
    Shot("work-queues", work_queues, 700),
    Shot("automations", automations, 1500),
    Shot("backfill-form", backfill_form, 1500),
    Shot("event-feed", event_feed),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="keep the pictures there")
    parser.add_argument("--tickets", type=int, default=300, help="documents of the source (default: 300)")
    parser.add_argument("--only", action="append", choices=[shot.name for shot in SHOTS], default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    program = browser.found()
    if program is None:
        return said({"skipped": f"no Chromium is installed: apt-get install {browser.PACKAGE}"}, options.json)
    started = time.monotonic()
    shots = [shot for shot in SHOTS if not options.only or shot.name in options.only]
    with tempfile.TemporaryDirectory(prefix="penstock-screens-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"problems": {}}
        try:
            (folder / "project").mkdir()
            with up(folder / "project", options.tickets) as system:
                system.until_the_run_ended()
                found |= looked(system, shots, program, options.into or folder / "pictures")
        except (Broken, httpx.HTTPError) as broken:
            found["problems"]["system"] = f"{type(broken).__name__}: {broken}"
    return said(found | {"seconds": round(time.monotonic() - started, 1)}, options.json)


def looked(system: System, shots: list[Shot], program: str, into: Path) -> dict[str, Any]:
    """Look at all of them; what each was asserted to say, what is missing, and what the pages asked for."""
    found: dict[str, Any] = {"run": system.run["name"], "asserted": {}, "bytes": {}, "problems": {}}
    with browser.opened(program) as page:
        for shot in shots:
            print(f"── {shot.name}", file=sys.stderr, flush=True)
            try:
                page.page.set_viewport_size({"width": browser.WIDTH, "height": shot.height})
                found["asserted"][shot.name] = shot.look(system, page)
                found["bytes"][shot.name] = page.picture(into / f"{shot.name}.png")
                if found["bytes"][shot.name] > MOST_BYTES:
                    found["problems"][shot.name] = f"the picture has {found['bytes'][shot.name]} bytes"
            except (Missing, httpx.HTTPError, KeyError) as problem:
                found["problems"][shot.name] = f"{type(problem).__name__}: {problem}"
                print(f"   {found['problems'][shot.name]}", file=sys.stderr, flush=True)
        found["requests"], outside = len(page.asked), browser.outside(page.asked)
    if outside:
        found["problems"]["requests to elsewhere"] = outside
    return found


def said(found: dict[str, Any], as_json: bool) -> int:
    """Print it; the exit code."""
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(_lines(found)))
    return 1 if found.get("problems") else 0


def _lines(found: dict[str, Any]) -> Iterator[str]:
    if "skipped" in found:
        yield f"skipped: {found['skipped']}"
        return
    for name, asserted in found.get("asserted", {}).items():
        yield f"{name:16} {', '.join(asserted)}"
    yield from (f"PROBLEM {name}: {problem}" for name, problem in found["problems"].items())
    if "requests" in found:
        yield f"{found['requests']} requests of the pages"


if __name__ == "__main__":
    sys.exit(main())
