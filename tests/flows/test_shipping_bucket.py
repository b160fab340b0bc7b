"""A DR store in a bucket, over real sockets: credentials of its own, an outage in the middle, a server that hangs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.flows import wiring
from penstock.flows.answers import recovery
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.recovery import archives, fences, shipping
from penstock.index.recovery.archive import Archive
from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.flows.conftest import World
from tests.index.s3 import KEYS, S3Server, server  # noqa: F401 - a fixture is used by its name

CONFIG = Path("penstock.toml")


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:  # noqa: F811 - the fixture, by its name
    with FaultyProxy(server.url) as between:
        yield between


@pytest.fixture
def place(world: World, server: S3Server, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """A bucket whose credentials are in variables of their own; those of the index would lead nowhere."""
    url = f"s3://{server.bucket()}/dr"
    CONFIG.write_text(f'[snapshots]\nstore = [{{ url = "{url}", variables = "DR_" }}]\nwait_seconds = 3.0\n')
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(f"DR_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return url


def there() -> Archive:
    (archive,) = archives.archives(load(CONFIG), os.environ, print)
    return archive


def test_a_run_ships_to_a_bucket_with_credentials_of_its_own(world: World, place: str) -> None:
    """What is there can be read back, and a second run puts only what is new."""
    world.write("a.txt", "alpha")
    first = world.ingest(config=str(CONFIG)).ship[place]
    assert (first.version, first.versions_behind, first.problem) == (1, 0, "")
    world.write("b.txt", "beta")
    second = world.ingest(config=str(CONFIG)).ship[place]
    assert (second.version, second.shipped_versions) == (2, 1)
    archive = there()
    for version, epoch in archive.versions():
        archive.manifest(archive.record(version, epoch).manifest)


def test_replies_that_are_lost_on_the_way_change_nothing(world: World, place: str, proxy: FaultyProxy) -> None:
    """What was put and not heard of is read back, not guessed."""
    for kind in ("drop_reply", "status_after"):
        proxy.faults.add(Fault(kind, method="PUT", times=2, status=503, code="SlowDown"))  # type: ignore[arg-type]
    world.write("a.txt", "alpha")
    account = world.ingest(config=str(CONFIG))
    assert (account.ship[place].version, account.messages) == (1, [])


def test_a_bucket_that_is_down_costs_a_run_the_seconds_that_it_may_wait(
    world: World, place: str, proxy: FaultyProxy
) -> None:
    """It refuses connections: the run ends well all the same, and the next one catches up."""
    proxy.down()
    world.write("a.txt", "alpha")
    started = time.monotonic()
    account = world.ingest(config=str(CONFIG))
    assert (account.exit_code(), account.indexed) == (0, 1) and time.monotonic() - started < 30
    assert account.ship[place].problem and account.ship[place].versions_behind is None
    assert account.messages[0].startswith(f"NOT shipped to {place}: ")
    proxy.up()
    assert world.ingest(config=str(CONFIG)).ship[place].version == 1


def test_a_bucket_that_hangs_is_not_waited_for(world: World, place: str, proxy: FaultyProxy) -> None:
    """Neither by a writer that is opened, nor by `status`, nor by a run that is asked to stop."""
    world.write("a.txt", "alpha")
    world.ingest(config=str(CONFIG))
    proxy.faults.add(Fault("hang", times=None))
    settings, home = load(CONFIG), Home(world.home)
    lineage = wiring.lineage(settings, home, {})
    assert lineage is not None
    started = time.monotonic()
    fences.check(settings, home.path, lineage, os.environ, seconds=0.1)
    (one,) = recovery.look(settings, home, wiring.stores(settings, home), lineage, 0.0, os.environ, 0.1).stores
    assert (one.reachable, one.version) == (False, 1)
    going = shipping.beside(settings, home, lineage, lambda _: None)
    assert going is not None
    going.finish(0.1, lambda: False)
    assert time.monotonic() - started < 10
    proxy.faults.clear()


def test_a_dr_store_that_was_away_all_the_time_is_not_waited_for_at_the_end(
    world: World, place: str, proxy: FaultyProxy
) -> None:
    """A minute for each run that a site is down would be a minute for nothing."""
    world.write("a.txt", "alpha")
    world.ingest(config=str(CONFIG))
    proxy.faults.add(Fault("hang", times=None))
    settings, home = load(CONFIG), Home(world.home)
    going = shipping.beside(settings, home, wiring.lineage(settings, home, {}) or "", lambda _: None)
    assert going is not None
    (lane,) = going._lanes
    lane.problem = "did not answer an hour ago"
    started = time.monotonic()
    going.finish(600.0, lambda: False)
    assert time.monotonic() - started < 60
    proxy.faults.clear()
