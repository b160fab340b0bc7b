"""The flows that care for an index do what the commands do, and end as somebody who is paged needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.flows import maintain
from tests.flows.children import ROOT, served, sound
from tests.flows.conftest import World
from tests.flows.test_report import flip


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(maintain, "create_markdown_artifact", lambda markdown, **rest: made.append(markdown))
    return made


def test_many_commits_become_one_segment_and_the_answers_stay(world: World, artifacts: list[str]) -> None:
    """Compaction and collection in one run; what expired is gone from the replicas."""
    (world.home.parent / "penstock.toml").write_text("[keep]\nversions = 1\nhours = 0\n")
    for number in range(9):
        world.write(f"{number}.txt", f"text number {number}")
        world.ingest()
    before = served(world.home)
    state: Any = maintain.compact.fn(home=str(world.home))
    assert state.is_completed() and state.data["compacted"]["segments_after"] == 1
    assert state.data["collected"]["expired"] > 0
    assert "9 segments became 1" in artifacts[0]
    assert served(world.home) == before
    sound(world.home)


def test_a_scrub_that_finds_something_fails_until_it_is_repaired(world: World, artifacts: list[str]) -> None:
    """`Failed` is what an alert looks at; with `repair` it ends well, and then there is nothing to find."""
    world.write("a.txt", "text")
    world.ingest()
    home = str(world.home)
    assert maintain.scrub.fn(home=home).is_completed()  # type: ignore[union-attr]
    flip(max((world.home / "replicas/0/blobs").rglob("*.*")))
    failed: Any = maintain.scrub.fn(home=home)
    assert failed.is_failed() and "repair=true" in failed.message and failed.data["findings"]
    repaired: Any = maintain.scrub.fn(home=home, repair=True)
    assert (repaired.is_completed(), repaired.name) == (True, "Repaired")
    assert "Whole again" in artifacts[-1]
    sound(world.home)


def test_each_flow_has_a_deployment() -> None:
    """prefect.yaml names the flows that are there, with parameters that they take."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entries = {one["entrypoint"]: one for one in deployments}
    for name, flow in (("compact", maintain.compact), ("scrub", maintain.scrub)):
        one = entries[f"penstock.flows.maintain:{name}"]
        flow.validate_parameters(one["parameters"])
        assert flow.retries == 0


@pytest.mark.parametrize("flow", [maintain.compact, maintain.scrub])
def test_care_that_is_scheduled_before_the_first_ingest_is_skipped(flow: Any, tmp_path: Path) -> None:
    """Nobody is called for an index that is not there yet, and no home is made for it."""
    config = tmp_path / "penstock.toml"
    config.write_text('home = "home"\n')
    state = flow.fn(config=str(config))
    assert (state.is_completed(), state.name) == (True, "Skipped")
    assert not (tmp_path / "home").exists()
