"""What `penstock deploy` does to a real Prefect server, and what its deployments do there."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from penstock.flows import cli, wiring
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.deploying.deployments import mark, planned
from penstock.index.reading.reader import Reader
from tests.flows.prefect_server import Prefect, asked, free_port, patience


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    server = Prefect(tmp_path_factory.mktemp("prefect"))
    server.environment["PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS"] = "1"
    try:
        server.start("server", "start", "--port", str(server.port), cwd=server.folder)
        server.until_it_answers()
        yield server
    finally:
        server.end()


class Project:
    """A folder with a configuration, deployed to a server."""

    def __init__(self, prefect: Prefect, folder: Path) -> None:
        self.prefect, self.folder, self.config = prefect, folder, folder / "penstock.toml"
        folder.mkdir()

    def configure(self, text: str) -> None:
        self.config.write_text(text)

    def command(self, *words: str, url: str | None = None) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of `penstock deploy`."""
        url = self.prefect.url if url is None else url
        with (
            patch.dict(os.environ, PREFECT_API_URL=url),
            temporary_settings({PREFECT_API_URL: url}),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            code = cli.main(["deploy", "--config", str(self.config), *words])
        return code, out.getvalue(), err.getvalue()

    def deploy(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What `penstock deploy --json` answers."""
        found, out, err = self.command("--json", *words)
        assert found == code, out + err
        return cast("dict[str, Any]", json.loads(out))

    def there(self) -> dict[str, dict[str, Any]]:
        """Its deployments on the server, by name."""
        every = self.prefect.ask("deployments/filter", limit=200)
        return {each["name"]: each for each in every if mark(self.config) in each["tags"]}

    def start(self, name: str, **parameters: Any) -> str:
        """Start a deployment; the id of the run."""
        said = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": str(uuid4())}
        path = f"deployments/{self.there()[name]['id']}/create_flow_run"
        return str(asked("POST", f"{self.prefect.url}/{path}", said).json()["id"])


def outcomes(answer: Mapping[str, Any]) -> dict[str, set[str]]:
    """outcome -> names."""
    found: dict[str, set[str]] = {}
    for each in answer["deployments"]:
        found.setdefault(each["outcome"], set()).add(each["name"].partition("/")[2])
    return found


@pytest.fixture(scope="module")
def project(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = Project(prefect, tmp_path_factory.mktemp("deployed") / "project")
    found.configure(
        '[prefect]\ntimezone = "Europe/Zurich"\n'
        '[sources.wiki]\npath = "wiki"\nschedule = "every 20m"\npriority = "urgent"\n'
        '[sources.old]\npath = "old"\n'
    )
    return found


@pytest.fixture(scope="module")
def first(project: Project) -> dict[str, Any]:
    """What the first deploy said, after a person and somebody else were there."""
    flow = asked("POST", f"{project.prefect.url}/flows/", {"name": "penstock-ingest"}).json()["id"]
    for name, tags in (("ingest-by-hand", ["penstock"]), ("ingest-elsewhere", ["penstock", "config:00000000"])):
        body = {"name": name, "flow_id": flow, "tags": tags, "parameters": {"config": "/else/penstock.toml"}}
        asked("POST", f"{project.prefect.url}/deployments/", body)
    return project.deploy()


def test_one_command_makes_pool_queues_and_deployments(project: Project, first: dict[str, Any]) -> None:
    """A dry run says the same and makes nothing; a second run finds nothing to do."""
    assert outcomes(first)["made"] == {each.name for each in planned(load(project.config), project.config)}
    queues = project.prefect.ask("work_pools/penstock/queues/filter")
    order = [queue["name"] for queue in sorted(queues, key=lambda queue: queue["priority"])]
    assert order[:3] == ["urgent", "scheduled", "backfill"]
    before = project.there()
    for words in (["--dry-run"], []):
        again = project.deploy(*words)
        assert set(outcomes(again)) == {"unchanged"}
        assert again["infrastructure"] == again["automations"] == []
    assert project.there() == before


def test_schedules_have_their_time_zone(project: Project, first: dict[str, Any]) -> None:
    """The next time is told in it; an interval is counted from midnight, so that to deploy again moves nothing."""
    there = project.there()
    (kept,) = there["ingest-old"]["schedules"]
    assert (kept["schedule"]["cron"], kept["schedule"]["timezone"]) == ("15 2 * * *", "Europe/Zurich")
    (kept,) = there["ingest-wiki"]["schedules"]
    assert (kept["schedule"]["interval"], kept["schedule"]["timezone"]) == (1200, "Europe/Zurich")
    told = {each["name"]: each["next"] for each in first["deployments"]}
    at = datetime.fromisoformat(told["penstock-ingest/ingest-old"])
    assert (at.hour, at.minute) == (2, 15) and at.utcoffset() is not None
    assert datetime.fromisoformat(told["penstock-ingest/ingest-wiki"]).minute in (0, 20, 40)
    assert told["penstock-urgent/urgent"] == ""


def test_the_form_shows_what_can_be_chosen_and_refuses_the_rest(project: Project, first: dict[str, Any]) -> None:
    """Descriptions, enumerations and bounds are on the server; a bad value ends there, with field and reason."""
    fields = project.there()["retry"]["parameter_openapi_schema"]["properties"]
    assert fields["priority"]["enum"] == ["urgent", "scheduled", "backfill"]
    assert "timed_out" in fields["reason"]["anyOf"][0]["enum"]
    assert project.there()["backfill"]["parameter_openapi_schema"]["properties"]["limit"]["anyOf"][0]["minimum"] == 1
    assert fields["source"]["description"] == "Only of this source."
    assert "enum" in json.dumps(project.there()["ingest-wiki"]["parameter_openapi_schema"]["properties"]["priority"])
    for name, parameters, said in (
        ("retry", {"priority": "now"}, "Validation failed for field 'priority'. Failure reason: 'now' is not one of"),
        ("backfill", {"limit": 0}, "field 'limit'. Failure reason: 0 is less than the minimum of 1"),
        ("urgent", {"paths": []}, "field 'paths'. Failure reason: [] should be non-empty"),
        ("retry", {"uri": "x"}, "Additional properties are not allowed ('uri' was unexpected)"),
        ("ingest-wiki", {"sorces": ["x"]}, "('sorces' was unexpected)"),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            project.start(name, **parameters)
        assert refused.value.response.status_code == 409 and said in refused.value.response.text


def test_a_person_keeps_what_is_theirs_and_gets_back_what_is_not(project: Project, first: dict[str, Any]) -> None:
    """Pauses, extra schedules, tags, parameters and job variables stay; queue, limit and schedule are restored."""
    prefect, there = project.prefect, project.there()
    wiki, urgent = (f"deployments/{there[name]['id']}" for name in ("ingest-wiki", "urgent"))
    own = {"schedule": {"cron": "0 12 * * *", "timezone": "Etc/UTC"}, "active": True}
    asked("POST", f"{prefect.url}/{wiki}/schedules", [own])
    (ours,) = there["ingest-wiki"]["schedules"]
    asked("PATCH", f"{prefect.url}/{wiki}/schedules/{ours['id']}", {"active": False})
    asked("PATCH", f"{prefect.url}/{urgent}", {"paused": True})
    changed = {
        "tags": [*there["ingest-wiki"]["tags"], "team-a"],
        "parameters": {**there["ingest-wiki"]["parameters"], "budget_minutes": 30, "priority": "backfill"},
        "job_variables": {"env": {"A": "1"}},
        "concurrency_limit": 5,
    }
    asked("PATCH", f"{prefect.url}/{wiki}", changed)
    answer = project.deploy()
    told = {each["name"]: each for each in answer["deployments"]}
    assert outcomes(answer)["changed"] == {"ingest-wiki"}
    assert told["penstock-ingest/ingest-wiki"]["detail"] == "limit, parameters"
    assert told["penstock-ingest/ingest-wiki"]["next"] == "paused"
    now = project.there()
    kept = now["ingest-wiki"]
    assert "team-a" in kept["tags"] and kept["job_variables"] == {"env": {"A": "1"}}
    assert (kept["parameters"]["budget_minutes"], kept["parameters"]["priority"]) == (30, "urgent")
    assert (kept["global_concurrency_limit"]["limit"], len(kept["schedules"])) == (1, 2)
    assert {each["slug"]: each["active"] for each in kept["schedules"]} == {"penstock": False, None: True}
    assert now["urgent"]["paused"]
    assert set(outcomes(project.deploy())) == {"unchanged"}


def test_a_new_source_makes_one_deployment_and_a_source_less_takes_one(project: Project, first: dict[str, Any]) -> None:
    """What is derived no longer goes, unless it is to be kept; what is somebody else's stays."""
    before = project.there()
    text = project.config.read_text()
    project.configure(text + '[sources.new]\npath = "new"\nfreshness = "30m"\n')
    assert outcomes(project.deploy())["made"] == {"ingest-new"}
    after = project.there()
    assert after.pop("ingest-new")["schedules"][0]["schedule"]["interval"] == 900
    assert after == before
    project.configure(text.partition("[sources.old]")[0])
    assert outcomes(project.deploy("--keep"))["kept"] == {"ingest-new", "ingest-old"}
    assert set(project.there()) == {*before, "ingest-new"}
    assert outcomes(project.deploy("--dry-run"))["deleted"] == {"ingest-new", "ingest-old"}
    assert outcomes(project.deploy())["deleted"] == {"ingest-new", "ingest-old"}
    assert project.there() == {name: one for name, one in before.items() if name != "ingest-old"}
    every = {each["name"] for each in project.prefect.ask("deployments/filter", limit=200)}
    assert every >= {"ingest-by-hand", "ingest-elsewhere"}


# ── in the way ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_that_somebody_else_has_is_left_alone_and_said(project: Project, first: dict[str, Any]) -> None:
    """Exit code 1; the rest is deployed. On request it is taken over."""
    other = Project(project.prefect, project.folder.parent / "other")
    other.configure(
        '[prefect]\nmaintenance = false\n[sources.by-hand]\npath = "docs"\n[sources.elsewhere]\npath = "d"\n'
    )
    before = project.there()
    answer = other.deploy(code=1)
    assert not answer["ok"] and outcomes(answer)["theirs"] == {
        "ingest-by-hand", "ingest-elsewhere", "backfill", "urgent", "retry",
    }  # fmt: skip
    said = {each["name"]: each["detail"] for each in answer["deployments"]}
    assert said["penstock-ingest/ingest-by-hand"] == "not made by penstock deploy"
    assert said["penstock-ingest/ingest-elsewhere"] == "made from /else/penstock.toml"
    assert (project.there(), other.there()) == (before, {})
    other.configure('[prefect]\nmaintenance = false\nsuffix = "hand"\n[sources.ingest]\npath = "docs"\n')
    made = outcomes(other.deploy())["made"]
    assert made == {"ingest-ingest-hand", "backfill-hand", "urgent-hand", "retry-hand"}
    moved = Project(project.prefect, project.folder.parent / "moved")
    moved.configure(other.config.read_text())
    assert outcomes(moved.deploy("--take-over"))["changed"] == made
    assert (set(moved.there()), other.there()) == (made, {})


def test_what_a_person_reads(project: Project, first: dict[str, Any]) -> None:
    """A table, with what was done to each and when it comes next; no secret of the environment."""
    with patch.dict(os.environ, PREFECT_API_AUTH_STRING="admin:sesame"):
        code, out, err = project.command("--dry-run")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].endswith("unchanged; nothing was changed.")
    assert lines[2].split() == ["deployment", "queue", "schedule", "next"]
    (urgent,) = (line for line in lines if line.startswith("penstock-urgent/urgent"))
    assert urgent.split()[1:] in (
        ["unchanged", "urgent", "on", "demand"],
        ["unchanged", "urgent", "on", "demand", "paused"],
    )
    assert "sesame" not in out + err


def test_a_server_that_is_not_there_is_said_in_one_line(project: Project) -> None:
    """Not configured is a matter of usage, not answering one of patience."""
    nobody = f"http://127.0.0.1:{free_port()}/api"
    beside = project.prefect.url.replace("//", "//me:hush@") + "/elsewhere?key=hush"
    for url, code, said in (
        ("", 2, "no Prefect server is configured"),
        (nobody, 3, f"{nobody}, does not answer"),
        (beside, 2, f"no Prefect API answers at {project.prefect.url}/elsewhere (status 404)"),
        ("ftp://x", 2, "no Prefect API answers at ftp://x (not a URL with http:// or https://)"),
    ):
        found, out, err = project.command(url=url)
        assert (found, out) == (code, "") and said in err
        assert len(err.splitlines()) == 1 and "hush" not in err


# ── at work ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def working(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of its own, with a worker. Its documents are empty: nobody waits for a model."""
    found = Project(prefect, tmp_path_factory.mktemp("working") / "project")
    found.configure(
        '[prefect]\nwork_pool = "elsewhere"\nsuffix = "work"\nmaintenance = false\n'
        '[sources.docs]\npath = "docs"\nschedule = "15 3,4 * * *"\n'
    )
    (found.folder / "docs").mkdir()
    for name in "abc":
        (found.folder / "docs" / f"{name}.txt").write_text("")
    found.deploy()
    homes.create(found.folder / ".penstock")
    prefect.start("worker", "start", "--pool", "elsewhere", cwd=found.folder.parent)
    return found


def until(prefect: Prefect, runs: list[str], *names: str) -> list[dict[str, Any]]:
    """Those runs, once the names of their states are `names`, in any order."""
    seen: list[str] = []
    for _ in patience():
        found = [prefect.runs()[run] for run in runs]
        if sorted(each["state_name"] for each in found) == sorted(names):
            return found
        if (now := [each["state_name"] for each in found]) != seen:
            seen = now
    raise AssertionError(seen)


def said(prefect: Prefect, run: str, words: str) -> None:
    """Wait until the log of the run says so."""
    for _ in patience():
        lines = prefect.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}})
        if any(words in line["message"] for line in lines):
            return


@pytest.fixture(scope="module")
def overlapping(prefect: Prefect, working: Project) -> list[str]:
    """The runs that were started at the same moment: twice one deployment, twice another one for the same source.

    The source's lock is held until those that run have said that they wait for it.
    """
    home = homes.Home(working.folder / ".penstock")
    held = wiring.locks(load(working.config), home).take("source.docs", wait=False)
    assert held is not None
    try:
        ingests = [working.start("ingest-docs-work") for _ in range(2)]
        backfills = [working.start("backfill-work", sources=["docs"]) for _ in range(2)]
        runs = until(prefect, ingests, "Running", "Cancelled")
        runs += until(prefect, backfills, "Running", "AwaitingConcurrencySlot")
        for run in runs:
            if run["state_name"] == "Running":
                said(prefect, run["id"], "another run works on docs; waiting for it")
            elif run["state_name"] == "AwaitingConcurrencySlot":  # it has shown what it was started for
                asked("POST", f"{prefect.url}/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}})
    finally:
        held.release()
    until(prefect, [run["id"] for run in runs if run["state_name"] == "Running"], "Completed", "Completed")
    return [run["id"] for run in runs]


def test_two_ingests_of_one_source_never_overlap(prefect: Prefect, working: Project, overlapping: list[str]) -> None:
    """One deployment: the second is cancelled, or waits. Two deployments: the lock of the source lets one in."""
    tasks = prefect.ask("task_runs/filter", flow_runs={"id": {"any_": overlapping}})
    assert len({task["flow_run_id"] for task in tasks}) == 1, "one of them did all of it, the other found it done"
    with Reader.open(working.folder / ".penstock") as reader:
        states = list(reader.states("docs"))
    assert len(states) == 3 and len({state.run for state in states}) == 1


def test_a_retry_and_an_urgent_run_do_what_was_asked_and_no_more(
    prefect: Prefect, working: Project, overlapping: list[str]
) -> None:
    """The first lists nothing, the second takes its path from the configuration's folder."""
    docs, home = working.folder / "docs", working.folder / ".penstock"
    (docs / "a.txt").write_bytes(b"\x00\x01\x02\x03" * 8)
    (docs / "d.txt").write_text("")
    (docs / "e.txt").write_text("")
    run = prefect.until_final(working.start("retry-work", source="docs", reason="empty"))
    assert (run["state_type"], run["name"]) == ("COMPLETED", "retry docs empty")
    with Reader.open(home) as reader:
        states = {state.uri: state.reason for state in reader.states("docs")}
    assert states == {"docs/a.txt": "unsupported", "docs/b.txt": "empty", "docs/c.txt": "empty"}
    run = prefect.until_final(working.start("urgent-work", paths=["../../etc/passwd"]))
    assert (run["state_type"], run["name"]) == ("FAILED", "urgent ../../etc/passwd")
    assert "lies in no configured source" in run["state"]["message"]
    run = prefect.until_final(working.start("urgent-work", paths=["docs/e.txt"]))
    assert (run["state_type"], run["name"], run["work_queue_name"]) == ("COMPLETED", "urgent docs/e.txt", "urgent")
    with Reader.open(home) as reader:
        assert {state.uri for state in reader.states("docs")} == {*states, "docs/e.txt"}
