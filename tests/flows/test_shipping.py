"""A run ships what it commits, and what is in the way of that never is in the way of the run."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.flows import cli, model_wiring, recover, wiring
from penstock.flows.answers import render, summary
from penstock.flows.answers.account_table import accounting
from penstock.flows.answers.progress import Quiet
from penstock.flows.answers.recovery import FRESH, LATE
from penstock.flows.recovery import lane
from penstock.flows.runs import run
from penstock.flows.runs.accounting import Accounting, IngestRequest, Shipment
from penstock.flows.runs.launch import on_threads
from penstock.index.commits.commit import Writer
from penstock.index.errors import WrongIndex
from penstock.index.reading.reader import Reader
from penstock.index.recovery.archive import Archive
from penstock.index.stores.store import LocalStore
from tests.flows.children import ROOT, killed_at, until
from tests.flows.conftest import World
from tests.flows.ingest_child import Child
from tests.flows.test_kill import documents

CONFIG = "penstock.toml"


@pytest.fixture
def dr(world: World) -> Path:
    """Where the DR store will be: nothing is there yet."""
    configure('store = "dr"')
    return world.home.parent / "dr"


def configure(*lines: str) -> None:
    Path(CONFIG).write_text("\n".join(["[snapshots]", *lines, ""]))


def archive(folder: Path) -> Archive:
    return Archive(LocalStore(folder, token=wiring.token), print)


def ingest(world: World, *names: str, **options: Any) -> Accounting:
    """An ingest after these documents were written."""
    for name in names:
        world.write(f"{name}.txt", f"{name} text")
    return world.ingest(config=CONFIG, **options)


def shipped_to(folder: Path) -> list[int]:
    return [version for version, _ in archive(folder).versions()]


def asked(capsys: pytest.CaptureFixture[str], world: World, *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*words, "--home", str(world.home), "--config", CONFIG, "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def verdict(capsys: pytest.CaptureFixture[str], world: World) -> tuple[str, str, bool]:
    found = asked(capsys, world, "status")
    return found["verdict"], found["next"].split(" --")[0], found["healthy"]


class Notes(Quiet):
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


# ── beside a run ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_run_commits_is_in_the_dr_store_when_it_ends(world: World, dr: Path) -> None:
    """Every version of it, whole; the account has the figures, a line for a person, and a row on the run's page."""
    account = ingest(world, "a")
    assert shipped_to(dr) == [1]
    one = account.ship[str(dr)]
    assert (one.version, one.versions_behind, one.bytes_behind, one.problem) == (1, 0, 0, "")
    assert one.shipped_versions == 1 and one.shipped_bytes > 0 and one.lag_max >= one.lag_p50 > 0
    assert f"shipped to {dr}: up to version 1, at most" in accounting(account)
    assert f"| {dr} | 1 | nothing | 1 versions" in summary.markdown(account).replace("\\", "")
    assert account.messages == []


def test_a_version_is_shipped_while_the_run_goes_on(world: World, dr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second commit is not made before the first one lies in the DR store."""
    commit, done = Writer.commit, []

    def after_the_first_is_shipped(writer: Writer, delta: Any) -> Any:
        if done:
            until(lambda: dr.is_dir() and shipped_to(dr) == [1])
        done.append(commit(writer, delta))
        return done[-1]

    monkeypatch.setattr(Writer, "commit", after_the_first_is_shipped)
    other = world.home.parent / "other"
    other.mkdir()
    (other / "b.txt").write_text("beta")
    world.write("a.txt", "alpha")
    account = world.ingest(world.docs, other, config=CONFIG)
    assert len(done) >= 2
    assert account.ship[str(dr)].version == account.version == shipped_to(dr)[-1]


def test_without_a_dr_store_and_with_during_runs_off_nothing_is_shipped(world: World, dr: Path) -> None:
    """Nor by a dry run, which changes nothing."""
    configure('store = "dr"', "during_runs = false")
    assert ingest(world, "a").ship == {}
    configure('store = "dr"')
    assert ingest(world, "b", dry_run=True).ship == {}
    assert not dr.exists()


def test_a_run_with_nothing_to_do_catches_up_and_loads_no_model(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other writers committed is shipped by whichever run comes next; when nothing lacks, nothing is put."""
    configure('store = "dr"', "during_runs = false")
    ingest(world, "a")
    ingest(world, "b")
    configure('store = "dr"')
    monkeypatch.setattr(model_wiring, "encoders", lambda *_: pytest.fail("the model was loaded"))
    assert ingest(world).ship[str(dr)].shipped_versions == 2
    assert shipped_to(dr) == [1, 2]
    again = ingest(world).ship[str(dr)]
    assert (again.shipped_versions, again.shipped_bytes, again.versions_behind) == (0, 0, 0)


def test_several_dr_stores_are_shipped_to_at_once_and_one_does_not_wait_for_another(world: World, dr: Path) -> None:
    """One that cannot be reached costs the other nothing, and the ingest succeeds."""
    configure('store = ["dr", "away/dr"]')
    account = ingest(world, "a")
    away = dr.parent / "away" / "dr"
    assert (account.exit_code(), account.indexed, shipped_to(dr)) == (0, 1, [1])
    assert account.ship[str(dr)].problem == ""
    assert "is the disk mounted?" in account.ship[str(away)].problem
    (said,) = account.messages
    assert said.startswith(f"NOT shipped to {away}: ") and "`penstock ship` catches up" in said
    assert f"shipped to {dr}: up to version 1" in accounting(account)


def test_a_dr_store_that_vanishes_during_the_run_is_said_once_and_caught_up_with(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty folder in its place is a disk that is not mounted: nothing is begun anew there."""
    ingest(world, "a")
    commit = Writer.commit

    def unplugged(writer: Writer, delta: Any) -> Any:
        dr.rename(dr.with_name("unplugged"))
        return commit(writer, delta)

    monkeypatch.setattr(Writer, "commit", unplugged)
    watcher = Notes()
    world.write("b.txt", "beta")
    request = IngestRequest(home=str(world.home), targets=(str(world.docs),), config=CONFIG)
    account = run.Run(request, watcher).execute(on_threads)
    assert (account.exit_code(), account.indexed) == (0, 1)
    assert "is not there, and had version 1" in account.ship[str(dr)].problem
    assert len([line for line in watcher.lines if "not shipped" in line]) == 1
    monkeypatch.setattr(Writer, "commit", commit)
    assert "is not there" in ingest(world).messages[0]
    dr.mkdir()
    assert "is empty, and had version 1" in ingest(world).messages[0]
    assert list(dr.iterdir()) == []
    dr.rmdir()
    dr.with_name("unplugged").rename(dr)
    assert ingest(world, "c").messages == []
    assert shipped_to(dr) == [1, 2, 3]


def test_a_full_dr_store_fails_no_ingest_and_stands_in_status(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The account says what is left to go, and the next run brings it there; until then `status` says why not."""
    write = LocalStore._write_temp
    full = True

    def written(store: LocalStore, source: Any) -> Path:
        if full and store.root == dr and (dr / "shipped.json").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(store, source)

    monkeypatch.setattr(LocalStore, "_write_temp", written)
    account = ingest(world, "a")
    one = account.ship[str(dr)]
    assert (account.exit_code(), one.versions_behind, one.version) == (0, 1, 0)
    assert "the disk is full" in one.problem and one.bytes_behind
    said, step, healthy = verdict(capsys, world)
    assert "the disk is full" in said and "1 version" in said and not healthy
    assert step == "make room there, then: penstock ship"
    (there,) = asked(capsys, world, "status")["recovery"]["stores"]
    assert there["reachable"] and "the disk is full" in there["problem"]
    full = False
    assert ingest(world).ship[str(dr)].version == 1
    assert verdict(capsys, world)[2]


def test_the_place_of_another_index_is_left_as_it_is(
    world: World, dr: Path, make_world: Callable[[str], World]
) -> None:
    """Two homes with one DR store: the second one says so, ingests, and `ship` ends with 2."""
    ingest(world, "a")
    other = make_world("other")
    Path(CONFIG).write_text("")
    ingest(other, "b")
    Path(CONFIG).write_text(f'[snapshots]\nstore = "{dr}"\n')
    account = ingest(other, "c")
    assert (account.exit_code(), account.indexed) == (0, 1)
    assert "versions of another index" in account.messages[0]
    assert shipped_to(dr) == [1]
    assert cli.main(["ship", "--home", str(other.home), "--config", CONFIG]) == 2


def test_nothing_begins_anew_where_the_home_was_lost(world: World, dr: Path) -> None:
    """It would be paid for a second time: the message names the restore. A store that is empty keeps nobody."""
    ingest(world, "a")
    shutil.rmtree(world.home)
    with pytest.raises(WrongIndex, match=f"up to version 1: .*penstock restore --from {dr}"):
        ingest(world, "b")
    shutil.rmtree(dr)
    dr.mkdir()
    assert ingest(world, "b").indexed == 2


def test_two_runs_at_once_ship_everything_and_never_at_the_same_time(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ships to a store at a time, and what it is too late for, the other brings."""
    from penstock.index.recovery.shipping import Shipped, Shipper

    inside, most, alone = [], [], threading.Lock()
    catch_up = Shipper.catch_up

    def watched(shipper: Shipper, stopped: Callable[[], bool]) -> Shipped:
        with alone:
            inside.append(1)
            most.append(len(inside))
        try:
            return catch_up(shipper, stopped)
        finally:
            inside.pop()

    monkeypatch.setattr(Shipper, "catch_up", watched)
    other = world.home.parent / "other"
    documents(world.docs, 10)
    documents(other, 10)
    ingest(world)
    threads = []
    for folder in (world.docs, other):
        (folder / "new.txt").write_text(f"new in {folder.name}")
        threads.append(threading.Thread(target=world.ingest, args=(folder,), kwargs={"config": CONFIG}))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Reader.open(world.home) as reader:
        assert shipped_to(dr)[-1] == reader.version
    assert max(most) == 1


def test_a_store_that_somebody_else_ships_to_is_waited_for_but_not_for_ever(world: World, dr: Path) -> None:
    """The run ends in time, and says how far behind it is."""
    ingest(world, "a")
    configure('store = "dr"', "wait_seconds = 0.3")
    from penstock.flows.config.home import Home
    from penstock.flows.config.settings import load
    from penstock.flows.recovery import seen

    held = wiring.locks(load(Path(CONFIG)), Home(world.home)).take(f"ship.{seen.digest(str(dr))}")
    assert held is not None
    account = ingest(world, "b")
    held.release()
    assert account.ship[str(dr)].versions_behind == 1
    assert "1 version (" in account.messages[0] and "`penstock ship` catches up" in account.messages[0]
    assert ingest(world).ship[str(dr)].versions_behind == 0


def test_a_stop_ends_the_wait_for_a_slow_dr_store(world: World, dr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C does not wait a minute for what the next run does as well."""
    from penstock.index.recovery.shipping import Shipped, Shipper

    request = IngestRequest(home=str(world.home), targets=(str(world.docs),), config=CONFIG)
    world.write("a.txt", "alpha")
    going = run.Run(request, Quiet())

    def endless(shipper: Shipper, stopped: Callable[[], bool]) -> Shipped:
        going.stop.request()
        until(stopped)
        return Shipped(0, 0, 0, 0, ())

    monkeypatch.setattr(Shipper, "catch_up", endless)
    account = going.execute(on_threads)
    assert (account.ship[str(dr)].versions_behind, account.ship[str(dr)].problem) == (1, "")


def test_an_unforeseen_fault_of_shipping_fails_no_ingest(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, it is said."""
    monkeypatch.setattr(lane.Lane, "_open", lambda self: 1 // 0)
    account = ingest(world, "a")
    assert (account.exit_code(), account.indexed) == (0, 1)
    assert "ZeroDivisionError" in account.messages[0]


def test_killed_between_commit_and_shipping_the_next_run_ships(world: World, dr: Path, tmp_path: Path) -> None:
    """SIGKILL right after the second commit: afterwards everything is there, and every version is whole."""
    documents(world.docs, 12)
    child = Child(str(world.home), [str(world.docs)], config=str(Path(CONFIG).absolute()), shard_tokens=400)
    child.die_at, child.times = "shard.committed", 2
    killed_at(child, tmp_path / "slots")
    account = ingest(world)
    assert account.ship[str(dr)].problem == ""
    there = archive(dr)
    assert there.versions()[-1][0] == account.version
    for version, epoch in there.versions():
        there.manifest(there.record(version, epoch).manifest)


# ── penstock ship ────────────────────────────────────────────────────────────────────────────────────────


def test_ship_catches_up_and_says_so(world: World, dr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With figures for each DR store; a second time there is nothing to do."""
    configure('store = "dr"', "during_runs = false")
    ingest(world, "a")
    ingest(world, "b")
    first = asked(capsys, world, "ship")
    assert first["ok"] and first["stores"][str(dr)]["shipped_versions"] == 2
    assert asked(capsys, world, "ship")["stores"][str(dr)]["shipped_versions"] == 0
    assert shipped_to(dr) == [1, 2]
    assert cli.main(["ship", "--home", str(world.home), "--config", CONFIG]) == 0
    assert f"Everything is shipped.\n\nshipped to {dr}: up to version 2" in capsys.readouterr().out


def test_ship_mends_what_is_missing_of_the_newest_version_there(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although it lacks no version."""
    ingest(world, "a")
    lost = max(dr.glob("blobs/*/*"), key=lambda path: path.stat().st_size)
    lost.unlink()
    assert asked(capsys, world, "ship")["stores"][str(dr)]["shipped_bytes"] == lost.stat().st_size


def test_ship_without_a_dr_store_says_what_to_write_where(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """And without an index, what to do first."""
    Path(CONFIG).write_text("")
    message = asked(capsys, world, "ship", code=2)["error"]["message"]
    assert "[snapshots]" in message and 'store = "/mnt' in message
    configure('store = "dr"')
    world.home.mkdir()
    (world.home / "home.json").write_text('{"format": 1}')
    assert "penstock ingest" in asked(capsys, world, "ship", code=2)["error"]["message"]


def test_ship_ends_with_3_where_a_dr_store_is_away_and_begins_anew_only_when_told(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in the other one is there all the same."""
    configure('store = ["dr", "second"]')
    ingest(world, "a")
    second = dr.with_name("second")
    second.rename(dr.with_name("gone"))
    found = asked(capsys, world, "ship", code=3)
    assert not found["ok"] and "penstock ship --anew" in found["stores"][str(second)]["problem"]
    assert found["stores"][str(dr)]["problem"] == ""
    assert asked(capsys, world, "ship", "--anew")["ok"]
    assert shipped_to(second) == [1]


def test_ship_of_a_fenced_index_ends_with_3(world: World, dr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing more goes there from here; a run is refused before it begins."""
    ingest(world, "a")
    whose = archive(dr).require()
    archive(dr).fence(whose, "another", 1, 1.0)
    found = asked(capsys, world, "ship", code=3)
    assert "restored" in found["stores"][str(dr)]["problem"]
    said, step, healthy = verdict(capsys, world)
    assert said.startswith("Writing is refused: version 1 of this index was restored") and not healthy
    assert "search" in step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_ships_what_others_commit_until_it_is_stopped(world: World, dr: Path, number: int) -> None:
    """And ends in order, with 0."""
    configure('store = "dr"', "during_runs = false")
    ingest(world, "a")
    command = [sys.executable, "-m", "penstock.flows.cli", "ship", "--follow"]
    with subprocess.Popen(
        [*command, "--home", str(world.home), "--config", CONFIG, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: dr.is_dir() and shipped_to(dr) == [1])
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert f"shipped to {dr}: version 1" in err and "Traceback" not in err
    assert json.loads(out)["stores"][str(dr)]["version"] == 1


def test_follow_waits_for_the_first_ingest(world: World, dr: Path) -> None:
    """A service that is started with the machine, before there is a home; it says once that it waits."""
    configure('store = "dr"', "during_runs = false")
    command = [sys.executable, "-m", "penstock.flows.cli", "ship", "--follow"]
    with subprocess.Popen(
        [*command, "--home", str(world.home), "--config", CONFIG, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as follower:
        assert follower.stderr is not None
        assert "waiting for the first ingest" in follower.stderr.readline()
        ingest(world, "a")
        until(lambda: dr.is_dir() and shipped_to(dr) == [1])
        follower.send_signal(signal.SIGTERM)
        out, _ = follower.communicate(timeout=30)
    assert follower.returncode == 0 and json.loads(out)["ok"]


def test_a_following_lane_sees_the_commits_of_others(world: World, dr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being told of them, and ends for good where nobody but a person can help."""
    from penstock.flows.config.home import Home
    from penstock.flows.config.settings import load
    from penstock.flows.recovery import shipping

    monkeypatch.setattr(shipping, "FOLLOWING", 0.05)
    configure('store = "dr"', "during_runs = false")
    ingest(world, "a")
    settings, lines = load(Path(CONFIG)), list[str]()
    ends: list[tuple[dict[str, Shipment], int]] = []
    follower = threading.Thread(
        target=lambda: ends.append(
            shipping.catch_up(settings, Home(world.home), lines.append, stopped=lambda: False, follow=True)
        )
    )
    follower.start()
    until(lambda: dr.is_dir() and shipped_to(dr) == [1])
    ingest(world, "b")
    until(lambda: shipped_to(dr) == [1, 2])
    archive(dr).fence(archive(dr).require(), "another", 2, 1.0)
    (world.docs / "c.txt").write_text("gamma")
    configure()
    ingest(world, "c")
    follower.join(20)
    assert [code for _, code in ends] == [3]
    assert any("restored" in line for line in lines)


# ── the deployment ───────────────────────────────────────────────────────────────────────────────────────


def test_the_flow_ships_and_fails_where_somebody_must_look(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends well where there is nothing to ship, or nowhere to."""
    monkeypatch.setattr(recover, "get_run_logger", lambda: logging.getLogger("test"))
    configure('store = "dr"', "during_runs = false")

    def ended() -> Any:
        return recover.ship.fn(home=str(world.home), config=CONFIG)

    ingest(world, "a")
    well = ended()
    assert (well.is_completed(), well.name, shipped_to(dr)) == (True, "Completed", [1])
    assert well.message == f"shipped to {dr}: up to version 1, at most {render.duration(lag_of(well, dr))} behind"
    dr.rename(dr.with_name("gone"))
    assert ended().is_failed() and "is the disk mounted?" in ended().message
    configure()
    assert ended().name == "Skipped"


def lag_of(state: Any, place: Path) -> float:
    lag: float = state.data[str(place)]["lag_max"]
    return lag


def test_the_flow_has_a_deployment_that_never_queues_up() -> None:
    """Every five minutes, with parameters that it takes; one that is late is left out."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (one,) = (one for one in deployments if one["entrypoint"] == "penstock.flows.recover:ship")
    recover.ship.validate_parameters(one["parameters"])
    assert one["schedules"][0]["cron"] == "*/5 * * * *"
    assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────


def test_status_says_how_far_each_dr_store_is(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind for more than an hour is for somebody to look at, with the next command; before that it is a figure."""
    ingest(world, "a")
    assert verdict(capsys, world)[2]
    (one,) = asked(capsys, world, "status")["recovery"]["stores"]
    assert (one["place"], one["reachable"], one["version"], one["versions_behind"]) == (str(dr), True, 1, 0)
    assert one["shares"] == ["0", "1"]
    configure('store = "dr"', "during_runs = false")
    ingest(world, "b")
    assert verdict(capsys, world)[2]
    (one,) = asked(capsys, world, "status")["recovery"]["stores"]
    assert (one["version"], one["versions_behind"]) == (1, 1) and one["bytes_behind"] > 0
    now = wiring.clock()
    monkeypatch.setattr(wiring, "clock", lambda: now + LATE + 60)
    said, step, healthy = verdict(capsys, world)
    assert said.startswith(f"Not shipped: DR store {dr} is 1 version (") and "behind" in said
    assert (step, healthy) == ("penstock ship", False)


def test_status_says_that_a_dr_store_cannot_be_reached_and_what_it_had(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no reason for `status` to fail."""
    ingest(world, "a")
    dr.rename(dr.with_name("gone"))
    (one,) = asked(capsys, world, "status")["recovery"]["stores"]
    assert (one["reachable"], one["version"], one["versions_behind"]) == (False, 1, None)
    said, step, healthy = verdict(capsys, world)
    assert said.startswith(f"Not shipped: DR store {dr}: ") and not healthy
    assert step == "mount it; if it is meant to be empty: penstock ship"
    assert cli.main(["status", "--home", str(world.home), "--config", CONFIG]) == 0
    assert "cannot be reached, had version 1" in capsys.readouterr().out


def test_status_of_a_dr_store_that_was_just_configured_names_the_command(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made by looking."""
    world.write("a.txt", "alpha")
    world.ingest()
    assert verdict(capsys, world)[:2] == (
        f"Not shipped: DR store {dr}: nothing was shipped there yet.",
        "penstock ship",
    )
    assert not dr.exists()
    assert asked(capsys, world, "ship")["ok"]
    assert verdict(capsys, world)[2]


def test_status_names_what_helps_where_a_dr_store_answers_and_cannot_be_shipped_to(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`penstock ship` alone would end with the same error for ever."""
    ingest(world, "a")
    marker, whose = dr / "shipped.json", archive(dr).require()
    good = marker.read_bytes()
    marker.write_bytes(good.replace(whose.encode(), b"f" * len(whose)))
    said, step, healthy = verdict(capsys, world)
    assert "shipped.json" in said and "delete shipped.json" in step and not healthy
    assert cli.main(["status", "--home", str(world.home), "--config", CONFIG]) == 0
    assert "cannot be shipped to, had version 1" in capsys.readouterr().out
    marker.write_bytes(good)
    archive(dr).fence("another", "a-third", 1, 1.0)
    fence = next((dr / "fences").iterdir())
    fence.write_bytes(fence.read_bytes()[:-9])
    said, step, healthy = verdict(capsys, world)
    assert "fences/" in said and step.startswith("if nobody restored this index: delete that file") and not healthy
    fence.unlink()
    assert verdict(capsys, world)[2]


def test_status_asks_for_an_empty_place_where_the_dr_store_is_another_indexs(
    world: World, dr: Path, make_world: Callable[[str], World], capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is after a restore."""
    ingest(world, "a")
    other = make_world("other")
    Path(CONFIG).write_text("")
    ingest(other, "b")
    Path(CONFIG).write_text(f'[snapshots]\nstore = "{dr}"\nduring_runs = false\n')
    said, step, healthy = verdict(capsys, other)
    assert "versions of another index" in said and not healthy
    assert step == "give [snapshots] store an empty place, then: penstock ship"
    assert asked(capsys, other, "status")["recovery"]["stores"][0]["reachable"]


def test_a_dr_store_to_which_nothing_was_shipped_for_minutes_is_a_warning(
    world: World, dr: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its folder is there or not."""
    dr.mkdir()
    configure('store = "dr"', "during_runs = false")
    ingest(world, "a")
    assert verdict(capsys, world)[2]
    now = wiring.clock()
    monkeypatch.setattr(wiring, "clock", lambda: now + FRESH + 5)
    said, step, healthy = verdict(capsys, world)
    assert "nothing was shipped there yet" in said and step == "penstock ship" and not healthy


def test_a_dr_store_that_hangs_costs_status_a_moment(world: World, dr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together cost that once."""
    from penstock.flows.answers import recovery
    from penstock.flows.config.home import Home
    from penstock.flows.config.settings import load

    configure('store = ["dr", "second"]')
    ingest(world, "a")
    release = threading.Event()

    def hanging(*_: object) -> Any:
        release.wait(30)

    monkeypatch.setattr(recovery, "_one", hanging)
    try:
        found = recovery.look(load(Path(CONFIG)), Home(world.home), {}, "whose", 0.0, {}, seconds=0.05)
    finally:
        release.set()
    assert [(one.reachable, one.problem) for one in found.stores] == [(False, "no answer within 0.05 s")] * 2


def test_without_a_dr_store_status_says_calmly_what_would_be_lost(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, and not as a warning."""
    world.write("a.txt", "alpha")
    world.ingest()
    assert cli.main(["status", "--home", str(world.home)]) == 0
    out = capsys.readouterr().out
    assert "DR store     none: if all replicas are lost, 1 document must be fetched and 1 chunk embedded again" in out
    assert asked_without_config(capsys, world)["healthy"]


def asked_without_config(capsys: pytest.CaptureFixture[str], world: World) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["status", "--home", str(world.home), "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_where_no_replica_can_be_read_status_still_says_what_the_dr_store_has(
    world: World, dr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is what would be restored."""
    ingest(world, "a")
    for name in ("0", "1"):
        replica = world.home / "replicas" / name
        replica.rename(replica.with_name(f"{name}.gone"))
    (one,) = asked(capsys, world, "status", code=3)["recovery"]["stores"]
    assert (one["reachable"], one["version"], one["versions_behind"]) == (True, 1, None)
