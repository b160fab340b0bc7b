"""Which deployments a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.config.operations import PrefectSettings
from penstock.flows.config.schedules import gap
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import SnapshotSettings
from penstock.flows.config.source_settings import SourceSettings
from penstock.flows.deploying.deployments import mark, planned, too_slow
from penstock.flows.deploying.queues import LIMITS

ROOT = Path(__file__).parents[2]
CONFIG = Path("/srv/penstock.toml")
ON_DEMAND = {"penstock-backfill/backfill", "penstock-urgent/urgent", "penstock-retry/retry"}
UPKEEP = {f"penstock-{name}/{name}" for name in ("compact", "scrub", "watch")}
RECOVERY = {f"penstock-{name}/{name}" for name in ("ship", "snapshot", "expire", "drill")}

names = st.from_regex(r"[a-z0-9]([a-zA-Z0-9_.-]{0,8}[a-z0-9])?", fullmatch=True)
sources = st.builds(
    SourceSettings,
    options=st.none(),
    schedule=st.sampled_from([None, "none", "every 15m", "0 * * * *", "15 2 * * *", "0 3 * * mon"]),
    priority=st.sampled_from(["urgent", "scheduled", "backfill"]),
    freshness=st.sampled_from([None, 60.0, 900.0, 86_400.0]),
)


def settings(found: Mapping[str, SourceSettings], **others: Any) -> Settings:
    return Settings(sources=dict(found), **others)


def source(**said: Any) -> SourceSettings:
    return SourceSettings(options=cast(Any, None), **said)


@given(st.dictionaries(names, sources, max_size=5), names, sources)
def test_a_new_source_is_one_more_deployment_and_changes_no_other(
    found: dict[str, SourceSettings], name: str, new: SourceSettings
) -> None:
    """Each configured source has exactly one, and no two deployments have one name."""
    before = planned(settings({key: value for key, value in found.items() if key != name}), CONFIG)
    after = planned(settings({**found, name: new}), CONFIG)
    assert len({each.full_name for each in after}) == len(after)
    (one,) = (each for each in after if each not in before)
    assert (one.full_name, one.parameters["sources"]) == (f"penstock-ingest/ingest-{name}", [name])
    assert [each for each in after if each in before] == before
    of_sources = [each.parameters["sources"][0] for each in after if each.flow == "penstock-ingest"]
    assert sorted(of_sources) == sorted({**found, name: new})


@given(st.dictionaries(names, sources, max_size=5))
def test_each_goes_to_the_queue_of_its_priority_and_never_runs_twice_at_once(found: dict[str, SourceSettings]) -> None:
    """What comes again within the day is not waited for; an objective is met where the schedule is ours."""
    for each in planned(settings(found), CONFIG):
        if each.flow != "penstock-ingest":
            continue
        said = found[each.parameters["sources"][0]]
        assert each.queue == each.parameters["priority"] == said.priority
        assert {f"priority:{said.priority}", "penstock", mark(CONFIG)} < set(each.tags)
        assert each.limit == 1
        assert each.collision == ("CANCEL_NEW" if gap(each.schedule) < 86_400 else "ENQUEUE")
        if said.schedule is None and said.freshness is not None and said.freshness < 86_400:
            assert gap(each.schedule) <= said.freshness / 2


def test_the_look_is_behind_no_limit_that_others_have() -> None:
    """A few long ingests in a limited queue would silence it, and somebody would be called for that."""
    (watch,) = (each for each in planned(settings({}), CONFIG) if each.flow == "penstock-watch")
    assert watch.queue == "urgent" and "urgent" not in LIMITS


def test_what_is_not_wanted_is_not_deployed() -> None:
    """Recovery where a DR store is configured, upkeep unless somebody else looks after it."""
    store = SnapshotSettings(store="/mnt/dr")
    assert {each.full_name for each in planned(settings({}), CONFIG)} >= ON_DEMAND | UPKEEP
    assert not {each.full_name for each in planned(settings({}), CONFIG)} & RECOVERY
    assert {each.full_name for each in planned(settings({}, snapshots=store), CONFIG)} >= RECOVERY
    alone = settings({}, snapshots=store, prefect=PrefectSettings(maintenance=False))
    assert {each.full_name for each in planned(alone, CONFIG)} == ON_DEMAND


def test_an_objective_that_its_own_schedule_cannot_meet_is_said() -> None:
    """Nothing is changed about it: the schedule was somebody's wish."""
    found = {"slow": source(schedule="15 2 * * *", freshness=900.0), "well": source(freshness=900.0)}
    (said,) = too_slow(settings(found))
    assert said.startswith("sources.slow.freshness is 900 s")


@pytest.mark.parametrize(
    ("schedule", "freshness", "said"),
    [
        ("every 1m", 60.0, ["(every 1m) lets all of that pass"]),
        ("none", 60.0, ["(none) lets more pass"]),
        (None, 10.0, ["(every 10s) lets all of that pass"]),
        ("every 1m", 61.0, []),
    ],
)
def test_a_schedule_that_leaves_no_run_any_time_is_said(
    schedule: str | None, freshness: float, said: list[str]
) -> None:
    """A run that begins when the objective is over already comes too late, however quick it is."""
    found = too_slow(settings({"wiki": source(schedule=schedule, freshness=freshness)}))
    assert len(found) == len(said) and all(words in line for words, line in zip(said, found, strict=True))


def test_every_flow_that_is_named_is_there_and_takes_its_parameters() -> None:
    """Of what is derived, and of prefect.yaml; both know the same flows, by the same names."""
    store = SnapshotSettings(store="/mnt/dr")
    derived = planned(settings({"wiki": source()}, snapshots=store), CONFIG, Path("/srv/home"))
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entries = [(each.entrypoint, each.parameters) for each in derived]
    for entrypoint, parameters in entries + [(each["entrypoint"], each["parameters"]) for each in written]:
        module, name = entrypoint.split(":")
        flow = getattr(import_module(module), name)
        flow.validate_parameters({"paths": ["x"], **parameters} if name == "urgent" else parameters)
    by_file = {each["name"]: each for each in written}
    assert set(by_file) - {"ingest"} == {each.name for each in derived} - {"ingest-wiki"}
    for each in derived:
        other = by_file.get(each.name)
        if other is not None:
            assert other["entrypoint"] == each.entrypoint
            assert other["work_pool"]["work_queue_name"] == each.queue
            limit = other.get("concurrency_limit") or {"limit": None, "collision_strategy": "ENQUEUE"}
            assert (limit["limit"], limit["collision_strategy"]) == (each.limit, each.collision), each.name
            assert bool(other.get("schedules")) == (each.schedule is not None)


def test_two_configurations_have_room_on_one_server() -> None:
    """With a suffix, no name of one is a name of the other."""
    plain = planned(settings({"wiki": source()}), CONFIG)
    other = planned(settings({"wiki": source()}, prefect=PrefectSettings(suffix="staging")), Path("/srv/other.toml"))
    assert {each.full_name for each in other} == {f"{each.full_name}-staging" for each in plain}
    assert mark(CONFIG) != mark(Path("/srv/other.toml"))
