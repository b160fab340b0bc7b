"""What `penstock deploy` does to a real Prefect server, and what its deployments do there."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from penstock.flows import cli
from penstock.flows.config.settings import load
from penstock.flows.deploying.deployments import mark, planned
from tests.flows.prefect_server import Prefect


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

    def deploy(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What `penstock deploy --json` answers."""
        url, out = self.prefect.url, io.StringIO()
        with (
            patch.dict(os.environ, PREFECT_API_URL=url),
            temporary_settings({PREFECT_API_URL: url}),
            redirect_stdout(out),
        ):
            found = cli.main(["deploy", "--json", "--config", str(self.config), *words])
        assert found == code, out.getvalue()
        return cast("dict[str, Any]", json.loads(out.getvalue()))

    def there(self) -> dict[str, dict[str, Any]]:
        """Its deployments on the server, by name."""
        every = self.prefect.ask("deployments/filter", limit=200)
        return {each["name"]: each for each in every if mark(self.config) in each["tags"]}

    def start(self, name: str, **parameters: Any) -> str:
        """Start a deployment; the id of the run."""
        answer = httpx.post(
            f"{self.prefect.url}/deployments/{self.there()[name]['id']}/create_flow_run",
            json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
        )
        return str(answer.raise_for_status().json()["id"])


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
    theirs = "flows/", "deployments/"
    flow = httpx.post(f"{project.prefect.url}/{theirs[0]}", json={"name": "penstock-ingest"}).json()["id"]
    for name, tags in (("ingest-by-hand", ["penstock"]), ("ingest-elsewhere", ["penstock", "config:00000000"])):
        body = {"name": name, "flow_id": flow, "tags": tags, "parameters": {"config": "/else/penstock.toml"}}
        httpx.post(f"{project.prefect.url}/{theirs[1]}", json=body).raise_for_status()
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
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            project.start(name, **parameters)
        assert refused.value.response.status_code == 409 and said in refused.value.response.text


def test_a_person_keeps_what_is_theirs_and_gets_back_what_is_not(project: Project, first: dict[str, Any]) -> None:
    """Pauses, extra schedules, tags, parameters and job variables stay; queue, limit and schedule are restored."""
    url, there = project.prefect.url, project.there()
    wiki, urgent = (f"{url}/deployments/{there[name]['id']}" for name in ("ingest-wiki", "urgent"))
    own = {"schedule": {"cron": "0 12 * * *", "timezone": "Etc/UTC"}, "active": True}
    httpx.post(f"{wiki}/schedules", json=[own]).raise_for_status()
    (ours,) = there["ingest-wiki"]["schedules"]
    httpx.patch(f"{wiki}/schedules/{ours['id']}", json={"active": False}).raise_for_status()
    httpx.patch(urgent, json={"paused": True}).raise_for_status()
    changed = {
        "tags": [*there["ingest-wiki"]["tags"], "team-a"],
        "parameters": {**there["ingest-wiki"]["parameters"], "budget_minutes": 30, "priority": "backfill"},
        "job_variables": {"env": {"A": "1"}},
        "concurrency_limit": 5,
    }
    httpx.patch(wiki, json=changed).raise_for_status()
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
