"""A real run, recorded by a real Prefect server: its name, tags, artifacts and events are there, with its figures."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.flows.telling.emit import home_id
from tests.flows.ingest_child import Child
from tests.flows.prefect_server import Prefect, patience

ROOT = Path(__file__).parents[2]

CONFIG = """
home = "home"
[index]
replicas = 1
[sources.handbook]
path = "handbook"
freshness = "1s"
[sources.wiki]
path = "wiki"
freshness = "30d"
"""
HOSTILE = "x ![i](http:⁄⁄evil.example) <b>bold<b> |a`.txt"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    server = Prefect(tmp_path_factory.mktemp("prefect"))
    try:
        server.start("server", "start", "--port", str(server.port), cwd=server.folder)
        server.until_it_answers()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "penstock.toml").write_text(CONFIG)
    for number in range(30):
        write(folder / "handbook" / f"page {number}.txt", f"Page {number} of the handbook says something else.")
    write(folder / "handbook" / HOSTILE, "A name is not markup.")
    write(folder / "handbook" / "empty.txt", "")
    write(folder / "wiki" / "a.md", "# A\n\nOne page of the wiki.")
    write(folder / "wiki" / "being written.txt", "half of it")
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    return path


@pytest.fixture(scope="module")
def first(prefect: Prefect, project: Path) -> dict[str, Any]:
    """While one document of the wiki is being written."""
    over = threading.Event()

    def keep_writing() -> None:
        while not over.wait(0.1):
            now = int(time.time())  # as a file system says it that knows whole seconds only
            os.utime(project / "wiki" / "being written.txt", (now, now))

    writer = threading.Thread(target=keep_writing, daemon=True)
    writer.start()
    try:
        return ingested(prefect, project)
    finally:
        over.set()
        writer.join()


@pytest.fixture(scope="module")
def second(prefect: Prefect, project: Path, first: dict[str, Any]) -> dict[str, Any]:
    """Nearly everything is gone at the source, and one page is new."""
    for number in range(29):
        (project / "handbook" / f"page {number}.txt").unlink()
    write(project / "handbook" / "new.txt", "One more page.")
    return ingested(prefect, project, "handbook", "--since", "2026-01-01")


def ingested(prefect: Prefect, project: Path, *words: str) -> dict[str, Any]:
    """The flow run of an ingest from the command line; its account is under `account`."""
    before = set(prefect.runs())
    child = Child(str(project / "home"), list(words), config=str(project / "penstock.toml"), load_seconds=1.0)
    said = msgspec.json.encode(child).decode()
    environment = {**prefect.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.ingest_child", said],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr + done.stdout
    (run,) = (run for name, run in prefect.runs().items() if name not in before)
    return {**run, "account": json.loads(done.stdout)}


def artifacts(prefect: Prefect, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = prefect.ask("artifacts/filter", flow_runs={"id": {"any_": [run["id"]]}})
    return {each["key"]: each for each in found}


def events(prefect: Prefect, run: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Of this run, as soon as there are any."""
    mine = f"prefect.flow-run.{run['id']}"
    for _ in patience():
        found = prefect.ask("events/filter", filter={"event": {"name": [name]}})["events"]
        of_run = [each for each in found if any(one["prefect.resource.id"] == mine for one in each["related"])]
        if of_run:
            return of_run
    raise AssertionError(name)


def test_name_and_tags_say_sources_window_and_priority(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Though it was started from the command line, where no deployment says them."""
    assert first["name"] == "ingest handbook, wiki" and second["name"] == "ingest handbook since 2026-01-01"
    assert set(first["tags"]) == {"penstock", "priority:scheduled", "source:handbook", "source:wiki"}
    assert set(second["tags"]) == {"penstock", "priority:scheduled", "source:handbook"}


def test_the_page_has_the_figures_of_the_account(prefect: Prefect, first: dict[str, Any]) -> None:
    """In all and by source; it adds up; what failed and why; the slowest documents, whose names are no markup."""
    account, page = first["account"], artifacts(prefect, first)["penstock-ingest"]["data"]
    assert (account["indexed"], account["failed"], account["rejected"], account["listed"]) == (32, 1, 1, 34)
    for row in (
        "| indexed | 32 |",
        "| **listed** | **34** | adds up |",
        "| handbook | 32 | 0 | 31 | 0 | 1 | 0 | 0 | 0 | 0 |",
        "| wiki | 2 | 0 | 1 | 1 | 0 | 0 | 0 | 0 | 0 |",
        "| **all** | **34** | **0** | **32** | **1** | **1** |",
        "| failed | changing | 1 |",
        "| rejected | empty | 1 |",
    ):
        assert row in page, page
    assert "## Slowest documents" in page and "## How fresh the index is" in page and "limit" in page
    assert "<b>" not in page and "![" not in page and "| 0 | version 1" not in page.split("## Replicas")[0]
    assert account["sources"]["wiki"]["failed"] == 1 and account["freshness"]["handbook"]["as_of"] > 0
    assert account["freshness"]["wiki"]["as_of"] == 0  # one of its documents failed: nothing is claimed


def test_progress_is_whole_and_the_picture_is_one(prefect: Prefect, first: dict[str, Any]) -> None:
    """The last figures stay on the page of the run."""
    found = artifacts(prefect, first)
    progress, picture = found["penstock-progress"], found["penstock-throughput"]
    assert (progress["type"], float(progress["data"])) == ("progress", 100.0)
    assert "34 of 34 documents searchable" in progress["description"]
    assert picture["type"] == "image"
    drawn = base64.b64decode(picture["data"].removeprefix("data:image/svg+xml;base64,")).decode()
    assert drawn.count("<polyline") == 2 and "commit (" in drawn


def test_commits_are_told(prefect: Prefect, project: Path, first: dict[str, Any]) -> None:
    """Of the home, with its sources; all of them together say what landed."""
    found = events(prefect, first, "penstock.commit")
    assert {each["resource"]["prefect.resource.id"] for each in found} == {home_id(str(project / "home"))}
    assert sum(each["payload"]["documents"].get("indexed", 0) for each in found) <= 32
    related = {one["prefect.resource.id"] for each in found for one in each["related"]}
    assert related & {"penstock.source.handbook", "penstock.source.wiki"}


def test_a_broken_objective_is_told_once(prefect: Prefect, first: dict[str, Any], second: dict[str, Any]) -> None:
    """By the first run that finds it, not by the next one as well."""
    found = events(prefect, first, "penstock.freshness.breached")
    assert [each["payload"]["source"] for each in found] == ["handbook"]
    assert found[0]["payload"]["objective_seconds"] == 1.0 and found[0]["payload"]["age_seconds"] > 1
    everywhere = prefect.ask("events/filter", filter={"event": {"name": ["penstock.freshness.breached"]}})["events"]
    assert len(everywhere) == 1


def test_withheld_deletions_are_told_with_what_to_do(prefect: Prefect, second: dict[str, Any]) -> None:
    """And stand on the page."""
    (event,) = events(prefect, second, "penstock.deletions.withheld")
    assert event["payload"]["withheld"] == 29 and event["payload"]["source"] == "handbook"
    assert "--confirm-deletions 29" in event["payload"]["if_they_are_really_gone"]
    assert "Withheld from deletion: 29" in artifacts(prefect, second)["penstock-ingest"]["data"]
