"""Snapshots from the command line and as flows: in all DR stores, and of the DR store alone."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.flows import cli, recover, wiring
from penstock.index.commits import log
from penstock.index.recovery.archive import Archive, Named
from penstock.index.stores.store import LocalStore
from tests.flows.children import ROOT
from tests.flows.conftest import World
from tests.flows.test_report import flip
from tests.index.s3 import S3Server, server  # noqa: F401

CONFIG = "penstock.toml"


@pytest.fixture
def drs(world: World) -> list[Path]:
    """Two DR stores; one version was shipped to both."""
    Path(CONFIG).write_text('[snapshots]\nstore = ["dr", "dr2"]\nkeep_last = 1\nkeep_days = 0\n')
    ingest(world, "a")
    return [world.home.parent / "dr", world.home.parent / "dr2"]


def ingest(world: World, *names: str) -> None:
    for name in names:
        world.write(f"{name}.txt", f"{name} text")
    world.ingest(config=CONFIG)


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["snapshot", *map(str, words), "--json"]) == code, capsys.readouterr()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def created(capsys: pytest.CaptureFixture[str], world: World, *words: str, code: int = 0) -> dict[str, Any]:
    return said(capsys, "create", *words, "--home", world.home, "--config", CONFIG, code=code)


def archive(folder: Path) -> Archive:
    return Archive(LocalStore(folder, token=wiring.token), print)


def test_a_snapshot_is_in_every_dr_store_when_the_command_returns(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was shipped is not copied again, and what was not is; the same again is fine."""
    done = created(capsys, world, "--name", "one", "--keep-for", "90d")
    assert [(one["store"], one["version"], one["copied_blobs"]) for one in done["stores"]] == [
        (str(dr), 1, 0) for dr in drs
    ]
    assert all(89 * 86400 < one["keep_until"] - one["taken_at"] < 91 * 86400 for one in done["stores"])
    Path(CONFIG).write_text(Path(CONFIG).read_text() + "during_runs = false\n")
    ingest(world, "b")
    done = created(capsys, world, "--hold")
    assert [(one["version"], one["held"], one["copied_versions"]) for one in done["stores"]] == [(2, True, 1)] * 2
    assert all(one["copied_blobs"] > 0 < one["copied_bytes"] for one in done["stores"])
    name = done["stores"][0]["name"]
    again = created(capsys, world, "--name", name)
    assert [(one["version"], one["copied_blobs"]) for one in again["stores"]] == [(2, 0)] * 2
    assert archive(drs[0]).snapshots().keys() == archive(drs[1]).snapshots().keys() == {"one", name}


def test_a_name_that_another_version_has_is_refused(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """In any of the DR stores, before it is given anywhere; so is one that is no name."""
    created(capsys, world, "--name", "one")
    shutil.rmtree(drs[0] / "snapshots")
    ingest(world, "b")
    error = created(capsys, world, "--name", "one", code=2)["error"]
    assert "snapshot one is version 1 there, not 2" in error["message"]
    assert not archive(drs[0]).snapshots()
    assert "letters" in created(capsys, world, "--name", "a/b", code=2)["error"]["message"]
    assert "90d" in created(capsys, world, "--keep-for", "soon", code=2)["error"]["message"]


def test_a_name_or_a_time_that_is_too_long_is_refused_before_anything_is_written(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with the limit, a time with what keeps for good."""
    assert "at most 100 letters, not 300" in created(capsys, world, "--name", "n" * 300, code=2)["error"]["message"]
    for word in ("100000000000d", "99999999999999999999999d"):
        assert "--hold" in created(capsys, world, "--keep-for", word, code=2)["error"]["message"]
    assert not archive(drs[0]).snapshots()
    assert created(capsys, world, "--name", "n" * 100, "--hold")["ok"]


def test_a_record_with_a_time_that_is_none_is_shown_all_the_same(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever wrote it, what lies beside it is still listed."""
    there = archive(drs[0])
    record = there.record(1, 1)
    for name, moment in (("far", 1e300), ("back", -1e18), ("before", -5.0)):
        named = Named(1, record.lineage, name, 1, 1, record.manifest, moment, moment, moment)
        there.name_version(named)
    for words in (["list"], ["show", "far"]):
        assert cli.main(["snapshot", *words, "--store", str(drs[0])]) == 0
        assert "for ever" in capsys.readouterr().out


def test_a_damaged_record_is_listed_as_that_and_the_exit_code_says_so(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside those that are whole."""
    created(capsys, world, "--name", "one")
    flip(drs[0] / "snapshots" / "one")
    capsys.readouterr()
    assert cli.main(["snapshot", "list", "--store", str(drs[0])]) == 1
    out = capsys.readouterr().out
    assert "no snapshot" not in out and "its record is damaged" in out and "snapshots/one is damaged" in out
    created(capsys, world, "--name", "two", code=0)
    (listed,) = said(capsys, "list", "--store", str(drs[0]), code=1)["stores"]
    assert ([one["name"] for one in listed["snapshots"]], listed["broken"]) == (["two"], ["one"])


def test_a_dr_store_that_is_away_is_said_and_the_others_have_it(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says that not all of them do."""
    drs[1].rename(drs[1].with_name("away"))
    done = created(capsys, world, "--name", "one", code=3)
    assert [one["store"] for one in done["stores"]] == [str(drs[0])] and str(drs[1]) in done["problems"]
    listed = said(capsys, "list", "--config", CONFIG, code=3)
    assert len(listed["stores"]) == 1 and str(drs[1]) in listed["problems"]


def test_without_the_home_they_are_listed_shown_verified_and_held(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """From a DR store alone, on any machine."""
    created(capsys, world, "--name", "one", "--hold")
    ingest(world, "b", "c")
    shutil.rmtree(world.home)
    Path(CONFIG).unlink()
    store = ("--store", str(drs[0]))
    (listed,) = said(capsys, "list", *store)["stores"]
    assert (listed["versions"]["oldest"], listed["versions"]["newest"], listed["versions"]["count"]) == (1, 2, 2)
    (one,) = listed["snapshots"]
    assert (one["name"], one["version"], one["held"]) == ("one", 1, True) and one["bytes"] > one["unique"] > 0
    (shown,) = said(capsys, "show", "one", *store)["stores"]
    assert (shown["counts"]["documents"], shown["segments"]) == (1, 1)
    assert shown["bytes"] == one["bytes"] == sum(part["bytes"] for part in shown["needs"].values())
    assert "docs" in shown["sources"] and shown["spaces"][shown["live"]]
    (audit,) = said(capsys, "verify", *store)["stores"]
    assert (audit["versions"], audit["flaws"], audit["whole"]) == ([1, 2], [], 2)
    assert not said(capsys, "release", "one", *store)["stores"][0]["held"]
    assert said(capsys, "hold", "one", *store)["stores"][0]["held"]
    for words in (("list",), ("show", "one"), ("verify",), ("expire", "--dry-run")):
        assert cli.main(["snapshot", *words, *store]) == 0
        assert str(drs[0]) in capsys.readouterr().out
    assert "no snapshot two" in said(capsys, "show", "two", *store, code=2)["error"]["message"]
    assert "no DR store is configured" in said(capsys, "list", code=2)["error"]["message"]


def test_damage_is_named_with_what_it_spoils_and_what_is_whole(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1; only the DR store that is damaged."""
    created(capsys, world, "--name", "one")
    ingest(world, "b")
    newest = archive(drs[0]).record(2, 1).manifest
    flip(drs[0] / "blobs" / newest.name[:2] / newest.name)
    done = said(capsys, "verify", "--config", CONFIG, code=1)
    (flaw,) = done["stores"][0]["flaws"]
    assert (flaw["key"].rsplit("/")[-1], flaw["versions"], done["stores"][0]["whole"]) == (newest.name, [2], 1)
    assert (done["stores"][1]["flaws"], done["stores"][1]["whole"]) == ([], 2)
    assert said(capsys, "verify", "one", "--config", CONFIG)["ok"]
    assert cli.main(["snapshot", "verify", "--version", "2", "--config", CONFIG]) == 1
    assert "manifest is damaged (version 2)" in capsys.readouterr().out


def test_expiry_keeps_what_the_configuration_or_the_command_says(
    world: World, drs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run first, which says the same and deletes nothing; then what is left is whole, and is shipped to."""
    created(capsys, world, "--name", "one")
    ingest(world, "b")
    ingest(world, "c")
    created(capsys, world, "--name", "two")
    planned = said(capsys, "expire", "--dry-run", "--config", CONFIG)
    assert [(one["snapshots"], one["versions"]) for one in planned["stores"]] == [(["one"], [1, 2])] * 2
    assert not said(capsys, "expire", "--keep-days", "1", "--keep-last", "2", "--config", CONFIG)["stores"][0]["blobs"]
    done = said(capsys, "expire", "--config", CONFIG)
    assert done["stores"] == planned["stores"] and done["stores"][0]["bytes"] > 0
    ingest(world, "d")
    assert [version for version, _ in archive(drs[0]).versions()] == [3, 4]
    assert said(capsys, "verify", "--all", "--config", CONFIG)["ok"]


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(recover, "create_markdown_artifact", lambda markdown, **rest: made.append(markdown))
    monkeypatch.setattr(recover, "get_run_logger", lambda: logging.getLogger("a flow run"))
    return made


def test_the_flows_do_what_the_commands_do(world: World, drs: list[Path], artifacts: list[str]) -> None:
    """One names the newest version every night, the other lets go of what is over."""
    home = str(world.home)
    state: Any = recover.snapshot.fn(home=home, config=CONFIG, keep_for="35d")
    assert state.is_completed() and len(state.data["stores"]) == 2 and "version 1" in artifacts[-1]
    ingest(world, "b")
    drs[1].rename(drs[1].with_name("away"))
    state = recover.snapshot.fn(home=home, config=CONFIG, name="n")
    assert state.is_failed() and str(drs[1]) in state.message
    state = recover.expire.fn(config=CONFIG)
    assert state.is_failed() and archive(drs[0]).store.size(log.key(1, 1)) is not None
    drs[1].with_name("away").rename(drs[1])
    assert recover.expire.fn(config=CONFIG, dry_run=True).is_completed() and "nothing to delete" in artifacts[-1]
    Path(CONFIG).write_text("")
    assert (recover.snapshot.fn(home=home, config=CONFIG).name, recover.expire.fn(config=CONFIG).name) == (
        "Skipped",
        "Skipped",
    )


def test_each_flow_has_a_deployment() -> None:
    """A snapshot every night, kept for five weeks; expiry every week."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    entries = {one["entrypoint"]: one for one in deployments}
    for name, flow in (("snapshot", recover.snapshot), ("expire", recover.expire)):
        one = entries[f"penstock.flows.recover:{name}"]
        flow.validate_parameters(one["parameters"])
        assert flow.retries == 0
    assert entries["penstock.flows.recover:snapshot"]["parameters"]["keep_for"] == "35d"


def test_a_bucket_of_another_account_takes_snapshots_and_lets_them_go(
    world: World,
    server: S3Server,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With credentials that only the DR store sees; on a real server."""
    for name, value in server.environ.items():
        monkeypatch.setenv(f"DR_{name}", value)
    url = f"s3://{server.bucket()}/dr"
    Path(CONFIG).write_text(f'[snapshots]\nstore = "{url}"\nvariables = "DR_"\nkeep_last = 1\nkeep_days = 0\n')
    ingest(world, "a")
    created(capsys, world, "--name", "one")
    ingest(world, "b")
    (two,) = created(capsys, world, "--name", "two", "--hold")["stores"]
    assert (two["store"], two["version"]) == (url, 2)
    where = ("--store", url, "--variables", "DR_")
    assert [one["name"] for one in said(capsys, "list", *where)["stores"][0]["snapshots"]] == ["one", "two"]
    (done,) = said(capsys, "expire", "--keep-last", "0", "--keep-days", "0", *where)["stores"]
    assert (done["snapshots"], done["versions"]) == (["one"], [1]) and done["blobs"] > 0
    assert said(capsys, "verify", "--all", *where)["stores"][0]["whole"] == 2
