"""What a run does while replicas are away: it goes on with enough of them, and stops whole with fewer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.flows import cli, wiring
from penstock.flows.runs.committing import Committer
from penstock.index.stores import patience
from tests.fakes.s3_faults import FaultyProxy
from tests.flows.children import served
from tests.flows.conftest import World
from tests.flows.test_kill import documents
from tests.index.s3 import KEYS, S3Server, server  # noqa: F401 - a fixture is used by its name


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:  # noqa: F811 - the fixture, by its name
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "ShardLimits", partial(wiring.ShardLimits, first_tokens=600, growth=1))


def after_commits(number: int, happens: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen once so many shards are committed."""
    commit, done = Committer.commit, 0

    def counted(self: Committer, *args: Any, **options: Any) -> Any:
        nonlocal done
        landed = commit(self, *args, **options)
        done += 1
        if done == number:
            happens()
        return landed

    monkeypatch.setattr(Committer, "commit", counted)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == code, capsys.readouterr()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.usefixtures("small_shards")
def test_a_third_replica_that_goes_away_stops_nobody(
    world: World,
    proxy: FaultyProxy,
    server: S3Server,  # noqa: F811 - the fixture, by its name
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """N=3, W=2: the run ends well, status says how much the third lacks, and repair makes up for it."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "BUDGET", 1.0)
    config = world.home.parent / "three.toml"
    config.write_text(
        f'home = "{world.home}"\n[index]\nreplica_deadline = 0.5\nwrite_quorum = 2\n'
        f'replicas = ["one", "two", "s3://{server.bucket()}/three"]\n'
    )
    documents(world.docs, 40)
    file = ("--config", str(config))
    after_commits(2, proxy.down, monkeypatch)
    account = said(capsys, "ingest", str(world.docs), *file)
    assert account["listed"] == 40 and account["version"] > 3

    shown = said(capsys, "status", *file)
    assert shown["verdict"].startswith("Under-replicated: replica 2 cannot be reached, and lacks")
    assert shown["under_replicated_bytes"] > 1000 and shown["next"].startswith("penstock repair")
    assert said(capsys, "search", "anything", *file)["hits"]
    assert not said(capsys, "verify", *file, code=1)["ok"]

    proxy.up()
    assert said(capsys, "repair", *file)["ok"]
    shown = said(capsys, "status", *file)
    assert (shown["healthy"], shown["under_replicated_bytes"]) == (True, 0)
    assert said(capsys, "verify", *file)["ok"]


def test_with_all_replicas_away_nothing_is_called_lost(
    world: World,
    proxy: FaultyProxy,
    server: S3Server,  # noqa: F811 - the fixture, by its name
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Verify and repair say that they are away, status that the figures are unknown; afterwards all is well."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "BUDGET", 1.0)
    config, bucket = world.home.parent / "away.toml", server.bucket()
    config.write_text(f'home = "{world.home}"\n[index]\nreplicas = ["s3://{bucket}/one", "s3://{bucket}/two"]\n')
    documents(world.docs, 5)
    file = ("--config", str(config))
    version = said(capsys, "ingest", str(world.docs), *file)["version"]
    proxy.down()
    found = said(capsys, "verify", *file, code=1)["findings"]
    assert [(line["kind"], line["where"]) for line in found] == [
        ("unreachable", f"s3://{bucket}/one"),
        ("unreachable", f"s3://{bucket}/two"),
        ("unreachable", "index"),
    ]
    assert not any(line["what"].startswith("s3://") for line in found)
    error = said(capsys, "repair", *file, code=3)["error"]
    assert error["code"] == "unavailable" and "replicas 0, 1" in error["message"]
    shown = said(capsys, "status", *file, code=3)
    assert (shown["version"], shown["documents"]) == (version, None) and "back" in shown["next"]
    proxy.up()
    assert said(capsys, "verify", *file)["ok"]


@pytest.mark.usefixtures("small_shards")
def test_with_too_few_replicas_a_run_stops_and_keeps_its_spool(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3; searches go on; once the replica is back, the same command embeds nothing again."""
    documents(world.docs, 40)
    lost, home = world.home / "replicas/1", ("--home", str(world.home))
    with monkeypatch.context() as patched:
        after_commits(2, lambda: shutil.move(lost, tmp_path / "lost"), patched)
        error = said(capsys, "ingest", str(world.docs), *home, code=3)["error"]
    assert error["code"] == "unavailable"
    assert list((world.home / "spool").glob("shard-*/shard.json"))
    assert said(capsys, "search", "anything", *home)["hits"]
    shutil.move(tmp_path / "lost", lost)
    account = said(capsys, "ingest", str(world.docs), *home)
    assert account["resumed"] > 0
    assert len(world.encoder.embedded) == len(set(map(tuple, world.encoder.embedded)))
    after = served(world.home)
    world.home = world.home.with_name("clean")
    world.ingest()
    assert after == served(world.home)
