"""A real Prefect server, worker and deployment, and the command line beside them. One of each for all tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from penstock.index.reading.reader import Reader
from tests.flows.prefect_server import BIN, Prefect, free_port, patience

ROOT = Path(__file__).parents[2]


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
    """What somebody has who deploys: the deployment file, the settings, documents. No checkout."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "prefect.yaml", folder)
    shutil.copy(ROOT / "penstock.toml", folder)
    shutil.copytree(ROOT / "examples" / "documents", folder / "examples" / "documents")
    return folder


@pytest.fixture(scope="module")
def deployed(prefect: Prefect, project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The flow run of the deployment, ended. The worker stands where a `flows` package of its own would break it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "flows").mkdir()
    (elsewhere / "flows" / "__init__.py").write_text("raise RuntimeError('the wrong flows package')\n")
    for words in (
        ("work-pool", "create", "penstock", "--type", "process"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = prefect.command(BIN / "prefect", *words, cwd=project)
        assert done.returncode == 0, done.stderr + done.stdout
    prefect.start("worker", "start", "--pool", "penstock", cwd=elsewhere)
    done = prefect.command(BIN / "prefect", "deployment", "run", "penstock-ingest/ingest", cwd=elsewhere)
    assert done.returncode == 0, done.stderr + done.stdout
    (run,) = prefect.runs().values()
    return prefect.until_final(run["id"])


def penstock(prefect: Prefect, *words: str | Path, cwd: Path, url: str | None = None) -> tuple[dict[str, Any], str]:
    """(the JSON answer, stderr) of a command that has to succeed."""
    done = prefect.command(BIN / "penstock", *words, "--json", cwd=cwd, url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_deployed_run_completes_from_any_directory(prefect: Prefect, deployed: dict[str, Any]) -> None:
    """The flow is found as installed, whatever lies where the worker stands; the run says what it did."""
    log = (prefect.folder / "worker.log").read_text(errors="replace")
    assert (deployed["state_type"], deployed["name"]) == ("COMPLETED", "ingest examples"), log[-3000:]
    assert "9 indexed" in deployed["state"]["message"]


def test_all_of_the_file_is_deployed_each_to_its_queue(prefect: Prefect, deployed: dict[str, Any]) -> None:
    """The queues are there, urgent first, and each form knows its fields and what may stand in them."""
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    there = {each["name"]: each for each in prefect.ask("deployments/filter")}
    queues = {each["name"]: each["work_pool"]["work_queue_name"] for each in written}
    assert {name: each["work_queue_name"] for name, each in there.items()} == queues
    order = sorted(prefect.ask("work_pools/penstock/queues/filter"), key=lambda queue: queue["priority"])
    assert [queue["name"] for queue in order if queue["name"] != "default"] == ["urgent", "scheduled", "backfill"]
    fields = there["retry"]["parameter_openapi_schema"]["properties"]
    assert fields["priority"]["enum"] == ["urgent", "scheduled", "backfill"] and fields["uris"]["description"]


def test_its_stages_are_tasks(prefect: Prefect, deployed: dict[str, Any]) -> None:
    """Prefect shows shards going through three stages, never single documents."""
    tasks = prefect.ask("task_runs/filter", flow_runs={"id": {"any_": [deployed["id"]]}})
    assert {"prepare 1", "embed 1", "commit 1"} <= {task["name"] for task in tasks}
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert len(tasks) < 9


def test_its_artifact_is_the_account(prefect: Prefect, deployed: dict[str, Any]) -> None:
    """The page of the run shows the accounting table, with the figures of the run, and that it adds up."""
    found = prefect.ask("artifacts/filter", flow_runs={"id": {"any_": [deployed["id"]]}})
    (artifact,) = (each for each in found if each["key"] == "penstock-ingest")
    for row in ("| indexed | 9 |", "| rejected | 3 |", "| deferred | 0 |", "| **listed** | **12** | adds up |"):
        assert row in artifact["data"]


def test_what_it_indexed_is_searchable(deployed: dict[str, Any], project: Path) -> None:
    """The home is where the deployment file was, and it answers."""
    with Reader.open(project / ".penstock") as reader:
        query = np.ones((1, reader.manifest.spaces[reader.manifest.live].dim), dtype=np.float32)
        (hits,) = reader.search(query, 1000)
    assert {hit.uri for hit in hits} >= {"examples/replicas.md", "examples/capacity-planning.pdf"}
    assert len({hit.uri for hit in hits}) == 9


def test_a_run_with_nothing_to_do_makes_no_flow_run(prefect: Prefect, deployed: dict[str, Any], project: Path) -> None:
    """A schedule that finds nothing new from the command line leaves Prefect alone, and starts no server."""
    before = set(prefect.runs())
    account, _ = penstock(prefect, "ingest", cwd=project)
    assert (account["unchanged"], account["indexed"]) == (9, 0)
    assert set(prefect.runs()) == before


def test_the_command_line_is_recorded_where_prefect_answers(
    prefect: Prefect, deployed: dict[str, Any], project: Path
) -> None:
    """With PREFECT_API_URL set, an ingest that finds something to do is a flow run too, with the same account."""
    (project / "examples" / "documents" / "replicas.md").unlink()
    before = set(prefect.runs())
    account, _ = penstock(prefect, "ingest", cwd=project)
    (new,) = (run for name, run in prefect.runs().items() if name not in before)
    assert (new["name"], new["state_type"], account["deleted"]) == ("ingest examples", "COMPLETED", 1)
    assert "1 deleted" in new["state"]["message"]


def test_a_drill_that_fails_raises_its_event(prefect: Prefect, deployed: dict[str, Any], project: Path) -> None:
    """Automations page on it. The DR store is empty: nothing was shipped."""
    (project / "elsewhere").mkdir()
    config = project / "shipped.toml"
    config.write_text('home = ".penstock"\n[snapshots]\nstore = "elsewhere"\n')
    words = ("deployment", "run", "penstock-drill/drill", "--param", f"config={config}")
    before = set(prefect.runs())
    done = prefect.command(BIN / "prefect", *words, cwd=project)
    assert done.returncode == 0, done.stderr + done.stdout
    (new,) = (run for name, run in prefect.runs().items() if name not in before and not run["auto_scheduled"])
    run = prefect.until_final(new["id"])
    assert run["state_type"] == "FAILED" and "nothing was ever shipped" in run["state"]["message"]
    assert run["name"] == f"drill {project.name}/.penstock"
    for _ in patience():
        found = prefect.ask("events/filter", filter={"event": {"name": ["penstock.drill.failed"]}})["events"]
        if found:
            break
    (event,) = found
    assert event["payload"]["result"] == "failed" and event["payload"]["home"] == str(project / ".penstock")
    assert any(each["prefect.resource.id"] == f"prefect.flow-run.{new['id']}" for each in event["related"])


def test_the_deployment_goes_on_with_a_home_that_was_restored(
    prefect: Prefect, deployed: dict[str, Any], project: Path
) -> None:
    """The home is lost and comes back from the DR store; the next run embeds what is new since, and nothing else."""
    config = project / "elsewhere.toml"
    config.write_text('home = ".penstock"\n[snapshots]\nstore = "dr"\n')
    penstock(prefect, "ship", "--config", config, cwd=project)
    shutil.rmtree(project / ".penstock")
    penstock(prefect, "restore", "--from", project / "dr", cwd=project)
    (project / "examples" / "documents" / "news.txt").write_text("The home was lost, and is there again.\n")
    before = set(prefect.runs())
    done = prefect.command(BIN / "prefect", "deployment", "run", "penstock-ingest/ingest", cwd=project)
    assert done.returncode == 0, done.stderr + done.stdout
    (new,) = (run for name, run in prefect.runs().items() if name not in before and not run["auto_scheduled"])
    run = prefect.until_final(new["id"])
    assert run["state_type"] == "COMPLETED" and "1 indexed" in run["state"]["message"]


def test_a_prefect_that_does_not_answer_is_said_and_gone_without(prefect: Prefect, project: Path) -> None:
    """A lost server costs its record, not the ingest."""
    (project / "notes").mkdir()
    (project / "notes" / "empty.txt").write_text("")  # rejected: nobody waits for a model
    nobody = f"http://127.0.0.1:{free_port()}/api"
    account, err = penstock(prefect, "ingest", "notes", cwd=project, url=nobody)
    assert account["rejected"] == 1
    assert f"{nobody} does not answer" in err
