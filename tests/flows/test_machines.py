"""More machines than one: the catalog in PostgreSQL, replicas and spool in buckets, homes that may be thrown away."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.flows import cli, wiring
from penstock.flows.config import home as homes
from penstock.flows.config.settings import Settings, load
from penstock.flows.runs import upkeep
from tests.flows.children import ended, killed_at, running, served, served_by
from tests.flows.conftest import World
from tests.flows.ingest_child import Child
from tests.flows.test_kill import documents
from tests.index import postgres
from tests.index.s3 import S3Server, server  # noqa: F401 - a fixture is used by its name

BATCH_ROWS = 4


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


class Cluster:
    """What all machines share: a database, buckets, a folder of documents. A machine is a folder with a home."""

    def __init__(self, path: Path, database: postgres.Postgres, s3: S3Server) -> None:
        self.path, self.docs = path, path / "docs"
        self.buckets = [s3.bucket(), s3.bucket()]
        self.environ = {**s3.environ, "PENSTOCK_PW": postgres.PASSWORD}
        self._catalog = database.fresh().replace(postgres.PASSWORD, "${PENSTOCK_PW}")
        self.log = path / "embedded"

    def machine(self, name: str) -> Path:
        """The configuration of a new machine; its home is not there yet."""
        folder = self.path / name
        folder.mkdir()
        one, two = self.buckets
        (folder / "penstock.toml").write_text(
            f'home = "home"\n[index]\ncatalog = "{self._catalog}"\nreplicas = ["s3://{one}/a", "s3://{two}/b"]\n'
            f'[spool]\nstore = "s3://{one}/work"\n[sources.docs]\npath = "{self.docs}"\n'
        )
        return folder / "penstock.toml"

    def child(self, config: Path, **options: object) -> Child:
        home = str(config.parent / "home")
        return Child(home, [], str(config), embedded=str(self.log), **options)  # type: ignore[arg-type]

    def opened(self, config: Path) -> tuple[Settings, homes.Home]:
        return load(config), homes.create(config.parent / "home")


@pytest.fixture
def cluster(
    tmp_path: Path,
    database: postgres.Postgres,
    server: S3Server,  # noqa: F811 - the fixture, by its name
    monkeypatch: pytest.MonkeyPatch,
) -> Cluster:
    made = Cluster(tmp_path / "cluster", database, server)
    made.docs.mkdir(parents=True)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def test_an_ingest_whose_machine_is_gone_goes_on_on_another(
    cluster: Cluster, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is embedded twice but what was on its way; the result is that of a clean build; the spool is empty."""
    documents(cluster.docs, 150)
    slots, first, second = tmp_path / "slots", cluster.machine("first"), cluster.machine("second")
    options = {"shard_tokens": 5000, "batch_seconds": 0.03, "flush_seconds": 0.02}
    killed_at(cluster.child(first, die_at="vectors.appended", times=20, **options), slots)
    before = len(cluster.log.read_text().split())
    shutil.rmtree(first.parent)
    with running(cluster.child(second, **options), slots) as process:
        code, account, err = ended(process)
    assert (code, account["listed"]) == (0, 150), (account, err)
    assert account["resumed"] > 0, "nothing was taken over"
    often = Counter(cluster.log.read_text().split())
    assert before > 40 and often.total() - len(often) <= BATCH_ROWS * 4, (before, often.total(), len(often))

    settings, home = cluster.opened(second)
    with wiring.open_reader(settings, home, print) as reader:
        there = served_by(reader)
    shutil.copytree(cluster.docs, world.docs, dirs_exist_ok=True)
    world.ingest()
    assert there == served(world.home)
    assert settings.spool.store is not None
    assert list(wiring.store(settings.spool.store).list("spool/")) == []
    assert upkeep.verify(settings, home, lambda *_: None) == []

    third = cluster.machine("third")
    capsys.readouterr()
    assert cli.main(["--config", str(third), "plan", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["listed"], planned["deferred"]) == (150, 0)
    assert cli.main(["--config", str(third), "status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["healthy"] and shown["documents"] == account["indexed"] + account["unchanged"]
    assert postgres.PASSWORD not in json.dumps(shown) and shown["catalog"].startswith("postgresql://penstock:***@")


def test_two_machines_do_one_source_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    """The second waits for the first, and then finds nothing to do."""
    documents(cluster.docs, 20)
    slots = [tmp_path / "slots-1", tmp_path / "slots-2"]
    children = [cluster.child(cluster.machine(name), batch_seconds=0.02) for name in ("first", "second")]
    for folder in slots:
        folder.mkdir()
    with running(children[0], slots[0]) as one, running(children[1], slots[1]) as two:
        outcomes = [ended(one), ended(two)]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert sorted(account["indexed"] > 0 for _, account, _ in outcomes) == [False, True]
    often = Counter(cluster.log.read_text().split())
    assert often.total() == len(often)
