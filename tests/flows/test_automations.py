"""The automations, on a real server: accepted as they are, left alone when they are right, fired by their events."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from penstock.flows.config.settings import Settings, load
from penstock.flows.config.snapshots import SnapshotSettings
from penstock.flows.deploying.automations import PREFIX, definitions, told
from penstock.flows.deploying.deployments import planned
from tests.flows.prefect_server import Prefect, asked, patience

ROOT = Path(__file__).parents[2]
INSTALL = """
import asyncio, json, sys
from pathlib import Path
from prefect.client.orchestration import get_client
from penstock.flows.config.settings import SettingsError, load
from penstock.flows.deploying.automations import install

async def main():
    async with get_client() as client:
        try:
            return await install(client, load(Path(sys.argv[1])))
        except SettingsError as error:
            return str(error)

print(json.dumps(asyncio.run(main())))
"""
PACE = """
import os, sys
from importlib import import_module
from prefect.settings import get_current_settings

for module in sys.argv[1:]:
    if os.fork() == 0:  # each in a process that has not imported the others
        import_module(module)
        print(module, get_current_settings().flows.heartbeat_frequency, flush=True)
        os._exit(0)
    os.wait()
"""
HOME = {"prefect.resource.id": "penstock.home.0123456789ab", "prefect.resource.name": "/data/home"}
FLOW = {"prefect.resource.role": "flow", "prefect.resource.id": f"prefect.flow.{uuid4()}"}


class Installed:
    """A server, and what `install` makes of it."""

    def __init__(self, prefect: Prefect, folder: Path) -> None:
        self.prefect, self.config = prefect, folder / "penstock.toml"

    def install(self, **keys: Any) -> list[str] | str:
        """The lines that it returned, or the error."""
        self.config.write_text("[prefect]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
        done = self.prefect.command(sys.executable, "-c", INSTALL, self.config, cwd=self.config.parent)
        assert done.returncode == 0, done.stderr
        said: list[str] | str = json.loads(done.stdout)
        return said

    def there(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.prefect.ask("automations/filter")}

    def emit(self, *events: dict[str, Any]) -> None:
        asked("POST", f"{self.prefect.url}/events", events)

    def until_fired(self, wanted: set[str]) -> set[str]:
        """The automations that fired, once all of `wanted` have."""
        fired: set[str] = set()
        for _ in patience():
            found = self.prefect.ask("events/filter", filter={"event": {"name": ["prefect.automation.triggered"]}})
            fired = {event["resource"]["prefect.resource.name"] for event in found["events"]}
            if wanted <= fired:
                break
        return fired


def event(name: str, resource: dict[str, str] = HOME, related: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    said = {"occurred": now, "event": name, "resource": resource, "related": list(related), "id": str(uuid4())}
    return said | {"payload": {"home": "/data/home"}}


def run_event(flow: str, state: str, name: str) -> dict[str, Any]:
    """What the server tells when a flow run of `flow` enters a state of that type, under that name."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}", "prefect.state-type": state}
    return event(f"prefect.flow-run.{name}", resource, (FLOW | {"prefect.resource.name": flow},))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    server = Prefect(tmp_path_factory.mktemp("automations"))
    try:
        server.start("server", "start", "--port", str(server.port), cwd=server.folder)
        server.until_it_answers()
        found = Installed(server, server.folder)
        found.install()
        yield found
    finally:
        server.end()


@pytest.fixture
def settings() -> Settings:
    return load(None)


def test_a_server_accepts_every_one_and_again_changes_nothing(installed: Installed, settings: Settings) -> None:
    """By name: the second time there is nothing to say, and none is there twice."""
    assert set(installed.there()) == {each.name for each in definitions(settings)}
    assert installed.install() == []
    assert len(installed.prefect.ask("automations/filter")) == len(definitions(settings))


def test_each_fires_when_its_event_is_told(installed: Installed) -> None:
    """The events of the index by their name, runs by the type of their state; and no other run of the server's."""
    installed.emit(
        *(event(f"penstock.{name}") for name in (
            "source.breaker-open", "replica.degraded", "deletions.withheld", "drill.failed", "freshness.breached",
            "watch.problem", "commit",
        )),
        run_event("penstock-scrub", "FAILED", "Gone wrong"),
    )  # fmt: skip
    wanted = {
        PREFIX + name
        for name in (
            "source is away", "replica degraded", "deletions withheld", "drill failed", "freshness breached",
            "watch found a problem", "run failed",
        )
    }  # fmt: skip
    assert installed.until_fired(wanted) == wanted, "what is disabled, or waits for silence, does not fire"


def test_runs_of_others_and_runs_that_went_well_fire_nothing(installed: Installed) -> None:
    """A failed run of another flow, and a completed one of ours, pass; the failed one after them is seen."""
    before = len(fired(installed, "run failed"))
    installed.emit(run_event("somebody-elses", "FAILED", "Failed"), run_event("penstock-ship", "COMPLETED", "Behind"))
    installed.emit(run_event("penstock-ship", "CRASHED", "Crashed"))
    for _ in patience():
        if len(found := fired(installed, "run failed")) > before:
            break
    assert len(found) == before + 1


def fired(installed: Installed, name: str) -> list[dict[str, Any]]:
    said = installed.prefect.ask("events/filter", filter={"event": {"name": ["prefect.automation.triggered"]}})
    return [each for each in said["events"] if each["resource"]["prefect.resource.name"] == PREFIX + name]


def test_what_a_person_changed_stays(installed: Installed) -> None:
    """Disabled stays disabled, and an action of theirs stays while no block is configured; our own values change."""
    name = PREFIX + "drill failed"
    mine = {"type": "cancel-flow-run"}
    there = installed.there()[name]
    body = {key: there[key] for key in ("name", "description", "enabled", "trigger", "actions", "tags")}
    changed = body | {"enabled": False, "actions": [mine]}
    asked("PUT", f"{installed.prefect.url}/automations/{there['id']}", changed)
    assert installed.install(zombie_seconds=120.0) == [f"automation '{PREFIX}zombie run' is changed"]
    assert installed.there()[name]["enabled"] is False
    assert installed.there()[name]["actions"] == [mine]
    asked("PUT", f"{installed.prefect.url}/automations/{there['id']}", body)
    assert installed.install() == [f"automation '{PREFIX}zombie run' is changed"]


def test_alerts_go_to_the_block_that_is_configured(installed: Installed) -> None:
    """All but the one that marks zombies, whose run then fails loudly by itself, and the one for commits."""
    url = installed.prefect.url
    kind = asked("GET", f"{url}/block_types/slug/slack-webhook").json()["id"]
    schema = installed.prefect.ask("block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind]}})[0]["id"]
    data = {"url": "http://127.0.0.1:9"}
    block = {"name": "on-call", "block_type_id": kind, "block_schema_id": schema, "data": data}
    told = asked("POST", f"{url}/block_documents/", block).json()["id"]
    assert len(installed.install(notify="slack-webhook/on-call")) == len(definitions(load(None))) - 2
    assert installed.install(notify="slack-webhook/on-call") == []
    actions = {name: each["actions"] for name, each in installed.there().items()}
    silent = {name for name, each in actions.items() if each[0].get("block_document_id") != told}
    assert silent == {PREFIX + "zombie run", PREFIX + "committed"}


def test_a_block_that_is_not_there_is_named(installed: Installed) -> None:
    """One line with the key and the fix; nothing is changed."""
    said = installed.install(notify="slack-webhook/nobody")
    assert isinstance(said, str) and said.startswith("prefect.notify = 'slack-webhook/nobody'")


def test_each_names_its_page(settings: Settings) -> None:
    """The page of docs/runbooks that says what to do; the one for commits needs none."""
    for each in definitions(settings):
        pages = re.findall(r"docs/runbooks/(alert-[a-z-]+\.md)", each.description)
        assert bool(pages) == (each.name != PREFIX + "committed"), each.name


def test_nothing_waits_for_a_watch_that_is_not_deployed(settings: Settings) -> None:
    """Without maintenance there is no penstock-watch, and its silence means nothing."""
    without = msgspec.structs.replace(settings, prefect=msgspec.structs.replace(settings.prefect, maintenance=False))
    assert {each.name for each in definitions(settings)} - {each.name for each in definitions(without)} == {
        PREFIX + "watch is silent"
    }


def test_every_flow_gives_its_sign_of_life_in_time(settings: Settings) -> None:
    """Whoever starts it, and however: at Prefect's own pace the automation would take a live run for dead."""
    every = msgspec.structs.replace(settings, snapshots=SnapshotSettings(store="/mnt/elsewhere"))
    modules = {each.entrypoint.partition(":")[0] for each in planned(every, Path("/nowhere/penstock.toml"))}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run([sys.executable, "-c", PACE, *modules], capture_output=True, text=True, env=environ)
    paces = dict(line.split() for line in done.stdout.splitlines())
    assert paces == dict.fromkeys(modules, "30"), done.stderr


def test_the_order_in_which_a_server_lists_events_is_no_change(settings: Settings) -> None:
    """What is expected is a set: JSON has to put it in some order, and each process has its own."""
    for each in definitions(settings, None):
        said = each.model_dump(mode="json")
        said["trigger"]["expect"] = sorted(said["trigger"]["expect"], reverse=True)
        assert told(type(each).model_validate(said)) == told(each)
        said["trigger"]["expect"] = sorted(said["trigger"]["expect"])
        assert told(type(each).model_validate(said)) == told(each)
