"""The flows that people start by a form: each asks for what its name says, and runs as every ingest does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.states import Completed
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from penstock.connectors import registry
from penstock.flows import ingest, reach, requests
from penstock.flows.answers.exits import UsageError
from penstock.flows.answers.progress import Quiet
from penstock.flows.runs import launch
from penstock.flows.runs.accounting import Accounting, IngestRequest, Retry
from tests.fakes import source as fake
from tests.flows.conftest import World
from tests.flows.test_sources_run import Far

FLOWS = (requests.backfill, requests.urgent, requests.retry)
WRITTEN = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
EACH = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.name))


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[IngestRequest]:
    """What the flows ask for, instead of doing it."""
    found: list[IngestRequest] = []
    monkeypatch.setattr(requests, "ran", lambda request: (found.append(request), Completed())[1])
    return found


@pytest.fixture
def far(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    monkeypatch.setitem(registry._BUILT_IN, "fake", "tests.fakes.source")
    registry.connector.cache_clear()
    fake.PLACES.clear()
    yield Far(world, tmp_path / "penstock.toml", monkeypatch)
    registry.connector.cache_clear()


@EACH
def test_each_is_a_thin_flow_over_the_body_of_ingest(flow: Any) -> None:
    """The same engine, the same end, nothing retried and nothing kept by Prefect."""
    assert requests.ran is ingest.ran
    assert (flow.retries, flow.persist_result) == (0, False)
    assert isinstance(flow.task_runner, type(ingest.ingest.task_runner))
    assert len(inspect.getsource(flow.fn).partition('"""')[2].partition('"""')[2].splitlines()) < 25


@pytest.mark.parametrize("entrypoint", sorted({each["entrypoint"] for each in WRITTEN}))
def test_the_form_says_of_each_field_what_it_is(entrypoint: str) -> None:
    """Of every flow that is deployed: the words beside a field come from the same place as the field."""
    module, name = entrypoint.split(":")
    flow = getattr(import_module(module), name)
    fields = parameter_schema(flow).properties
    assert set(fields) == set(inspect.signature(flow.fn).parameters)
    assert all(field.get("description", "").endswith((".", ".)")) for field in fields.values()), fields


@pytest.mark.parametrize(
    ("flow", "given", "field", "why"),
    [
        (requests.backfill, {"limit": 0}, "limit", "less than the minimum of 1"),
        (requests.backfill, {"budget_minutes": 0}, "budget_minutes", "less than or equal to the minimum"),
        (requests.backfill, {"confirm_deletions": -1}, "confirm_deletions", "less than the minimum of 0"),
        (requests.backfill, {"since": "yesterday"}, "since", "does not match"),
        (requests.backfill, {"sources": "wiki"}, "sources", "not of type 'array'"),
        (requests.urgent, {"paths": []}, "paths", "should be non-empty"),
        (requests.retry, {"reason": "tiresome"}, "reason", "is not one of"),
        (requests.retry, {"priority": "now"}, "priority", "is not one of ['urgent', 'scheduled', 'backfill']"),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_the_reason(
    flow: Any, given: dict[str, Any], field: str, why: str
) -> None:
    """By the server's own check, before a run begins."""
    with pytest.raises(Exception, match="Validation failed") as refused:
        validate(given, parameter_schema(flow).model_dump_for_openapi(), raise_on_error=True, ignore_required=True)
    assert f"'{field}'" in str(refused.value) and why in str(refused.value)


@pytest.mark.parametrize("said", ["7d", "1.5h", "2026-11-21", "2026-11-21T08:00Z", "2026-11-21T08:00:00.5+01:00"])
def test_a_time_is_taken_as_the_command_line_takes_it(said: str, asked: list[IngestRequest]) -> None:
    """What the form lets through, the run understands."""
    given = {"since": said, "until": said}
    validate(given, parameter_schema(requests.backfill).model_dump_for_openapi(), raise_on_error=True)
    requests.backfill.fn(since=said)
    requests.backfill.fn(until=said)
    assert asked[0].since is not None and asked[0].since == pytest.approx(asked[1].until, abs=5)


@pytest.mark.parametrize("flow", [requests.backfill, ingest.ingest], ids=lambda flow: str(flow.name))
def test_a_window_in_which_nothing_lies_is_refused_before_anything_is_opened(flow: Any, world: World) -> None:
    """With the words that were given."""
    with pytest.raises(UsageError, match="since 7d is not before until 30d"):
        flow.fn(since="7d", until="30d", home=str(world.home / "nowhere"))
    assert not (world.home / "nowhere").exists()


def test_a_backfill_asks_for_all_of_its_parameters(world: World, asked: list[IngestRequest]) -> None:
    """And gives way to everything else."""
    requests.backfill.fn(
        ["wiki"], "2026-01-01", "2026-02-01", 5, 1000, 2.5, True, True, 7, config=None, home=str(world.home)
    )
    (found,) = asked
    assert found == IngestRequest(
        home=str(world.home),
        targets=("wiki",),
        limit=5,
        dry_run=True,
        confirm_deletions=7,
        since=1767225600.0,
        until=1769904000.0,
        budget_tokens=1000,
        budget_minutes=2.5,
        full=True,
        priority="backfill",
    )


def test_urgent_paths_are_taken_from_the_configurations_folder(asked: list[IngestRequest], tmp_path: Path) -> None:
    """Wherever the worker stands. A source is named by its name, an absolute path stays."""
    folder = tmp_path / "project"
    (folder / "docs").mkdir(parents=True)
    config = folder / "penstock.toml"
    config.write_text("[sources.handbook]\npath = 'docs'\n[sources.wiki]\ntype = 'files'\npath = 'w'\n")
    requests.urgent.fn(["docs/a.md", "wiki", "/mnt/b.md", "gone.txt"], config=str(config))
    (found,) = asked
    assert found.targets == (str(folder / "docs/a.md"), "wiki", "/mnt/b.md", str(folder / "gone.txt"))
    assert (found.priority, found.home, found.config) == ("urgent", str(folder / ".penstock"), str(config))


@pytest.mark.parametrize("flow", [requests.urgent, requests.backfill, ingest.ingest], ids=lambda flow: str(flow.name))
def test_a_deployment_reaches_what_is_configured_and_no_more(
    flow: Any, asked: list[IngestRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Links out of a source are followed; neither the command line nor a setting that says so is bound."""
    monkeypatch.setattr(ingest, "ran", requests.ran)
    folder = tmp_path / "project"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "way").symlink_to("/etc")
    config = folder / "penstock.toml"
    config.write_text("[sources.handbook]\npath = 'docs'\n[sources.far]\ntype = 'objects'\nurl = 's3://bkt/etc'\n")
    monkeypatch.chdir(folder)
    outside = (
        "/etc/passwd",
        "../../../etc/passwd",
        "docs/../penstock.toml",
        "docs/way/passwd",
        "/",
        ".",
        "~/x",
        "nobody",
    )
    for word in outside:
        flow.fn([word], config=str(config))
    monkeypatch.setattr(reach, "by_deployment", lambda: True)
    for word in outside:
        with pytest.raises(UsageError, match="lies in no configured source"):
            flow.fn(["handbook", word], config=str(config))
    assert len(asked) == len(outside)
    for word in ("handbook", "far", "docs", "docs/a.md", str(folder / "docs" / "gone.md")):
        flow.fn([word], config=str(config))
    config.write_text(config.read_text() + "[prefect]\npaths_anywhere = true\n")
    flow.fn(["/etc/passwd"], config=str(config))
    assert len(asked) == len(outside) + 6


def test_without_a_configuration_the_one_that_lies_here_counts(
    asked: list[IngestRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for an ingest: `./penstock.toml` if it is there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    requests.urgent.fn(["a.md"])
    (here / "penstock.toml").write_text('home = "elsewhere"\n')
    requests.urgent.fn(["a.md"])
    assert [found.targets for found in asked] == [(str(here / "a.md"),)] * 2
    assert [found.home for found in asked] == [str(here / ".penstock"), str(here / "elsewhere")]


def test_an_urgent_run_of_nothing_is_refused(asked: list[IngestRequest]) -> None:
    """Everything that is configured was hardly meant."""
    with pytest.raises(UsageError, match="name at least one"):
        requests.urgent.fn([])
    assert asked == []


def test_a_retry_names_what_it_means(world: World, asked: list[IngestRequest]) -> None:
    """By source, reason and uri, as the command does; a reason that nobody knows is refused."""
    requests.retry.fn("wiki", "timed_out", ["wiki/1"], 3, "urgent", home=str(world.home))
    (found,) = asked
    assert (found.targets, found.retry) == (("wiki",), Retry("wiki", "timed_out", ("wiki/1",)))
    assert (found.limit, found.priority) == (3, "urgent")
    with pytest.raises(UsageError, match="known are"):
        requests.retry.fn(reason="tiresome")


def test_a_retry_does_only_what_failed(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is listed, and nothing else is fetched."""
    accounts: list[Accounting] = []

    def ran(request: IngestRequest) -> Any:
        far.place.listings.clear()
        far.place.fetched.clear()
        accounts.append(launch.ingest(request, Quiet()))
        return Completed()

    monkeypatch.setattr(requests, "ran", ran)
    where = {"config": str(far.config), "home": str(far.world.home)}
    for name in ("a.md", "b.md", "c.md"):
        far.place.put(name, name)
    far.place.faults = {
        "a.md": [fake.busy(after=9_000.0)()],
        "b.md": [fake.busy("forbidden", 9_000.0)()],
    }
    requests.backfill.fn(["far"], **where)
    assert (accounts[-1].indexed, accounts[-1].failed) == (1, 2)
    far.place.put("d.md", "new, and not asked for")
    requests.retry.fn(reason="forbidden", **where)
    assert (accounts[-1].listed, accounts[-1].indexed) == (1, 1)
    assert (far.place.listings, far.place.fetched) == ([], ["b.md"])
    requests.retry.fn(**where)
    assert (accounts[-1].listed, accounts[-1].indexed, far.place.fetched) == (1, 1, ["a.md"])
    requests.retry.fn(**where)
    assert accounts[-1].listed == 0
