"""An index whose replicas lie in buckets of a real S3 server, with a network that misbehaves."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from penstock.index import Reader
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.stores import patience
from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.index.s3 import KEYS, server, store_at  # noqa: F401 - a fixture is used by its name
from tests.index.world import DIM, World, delta

QUERIES = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)


@pytest.fixture
def proxy(server):  # noqa: F811 - the fixture of the import
    with FaultyProxy(server.url, seed=3) as proxy:
        yield proxy


@pytest.fixture
def bucket(server, proxy):  # noqa: F811 - the fixture of the import
    """A store behind the faulty network."""
    return store_at(f"s3://{server.bucket()}/replica", {**KEYS, "AWS_ENDPOINT_URL": proxy.url})


@pytest.fixture
def impatient(monkeypatch):
    """An outage is noticed sooner, where how soon is not the point."""
    monkeypatch.setattr(patience, "BUDGET", 1.0)


def world(root, bucket, replicas, write_quorum):
    """A home whose last replica is the bucket."""
    home = World(root, replicas, write_quorum)
    home.wrap = lambda name, store: bucket if name == str(replicas - 1) else store
    return home


def answers(*places):
    with Reader.open(*places, report=lambda _: None) as reader:
        return reader.version, msgspec.json.encode(reader.search(QUERIES, 10))


def test_a_bucket_is_a_replica_like_any_other(tmp_path, bucket):
    """Two replicas, one in a bucket: verify finds nothing, and the bucket alone answers as the directory does."""
    home = world(tmp_path / "home", bucket, 2, 2)
    writer = home.create()
    writer.commit(delta(0, {"s/a": "one two", "s/b": "three"}))
    writer.commit(delta(1, {"s/b": None, "s/c": "four"}))
    writer.close()
    assert home.findings() == []
    assert answers(bucket) == answers(home.folder("0"))
    assert answers(bucket)[0] == 2


def test_all_replicas_may_be_buckets(tmp_path, server):  # noqa: F811
    """No directory at all: a writer with another empty work folder goes on where the first one ended."""
    first = World(tmp_path / "one")
    buckets = {name: store_at(f"s3://{server.bucket()}/{name}", server.environ) for name in first.ids}
    first.wrap = lambda name, _: buckets[name]
    writer = first.create()
    writer.commit(delta(0, {"s/a": "one two"}))
    writer.close()
    second = World(tmp_path / "two")
    second.root.mkdir()
    (tmp_path / "one" / "catalog.db").rename(second.root / "catalog.db")
    second.wrap = first.wrap
    writer = second.open()
    writer.commit(delta(1, {"s/b": "three"}))
    writer.close()
    assert second.findings() == []
    assert answers(*buckets.values())[0] == 2


def test_a_server_that_goes_away_and_returns_is_caught_up(impatient, tmp_path, bucket, proxy):
    """Three replicas, two must have a commit: it goes on without the bucket, and the next open fills it."""
    home = world(tmp_path / "home", bucket, 3, 2)
    writer = home.create()
    writer.commit(delta(0, {"s/a": "one two"}))
    proxy.down()
    writer.commit(delta(1, {"s/b": "three"}))
    writer.close()
    proxy.up()
    assert answers(bucket)[0] == 1
    home.open().close()
    assert home.findings() == []
    assert answers(bucket) == answers(home.folder("0"))


def test_a_server_that_ignores_conditions_is_refused_as_a_replica(tmp_path, bucket, proxy):
    """Creating an index there fails, naming the probe; nothing of an index is left in the bucket."""
    proxy.faults.add(Fault("ignore_conditions", times=None))
    with pytest.raises(WrongIndex, match="put if absent"):
        world(tmp_path / "home", bucket, 2, 2).create()
    assert list(bucket.list("")) == []


def test_what_was_acknowledged_is_there_whatever_the_network_does(tmp_path, bucket, proxy):
    """Lost replies, lost requests, errors before and after the act: each acknowledged commit is in the bucket."""
    home = world(tmp_path / "home", bucket, 2, 2)
    home.create().close()
    for kind in ("drop_reply", "drop_request", "status", "status_after", "truncate"):
        proxy.faults.add(Fault(kind, status=503, chance=0.03, times=None))
    acknowledged: dict[str, str] = {}
    for turn in range(4):
        docs = {f"s/{turn}": f"word{turn} more"}
        try:
            writer = home.open()
            try:
                writer.commit(delta(writer.head().version, docs))
            finally:
                writer.close()
            acknowledged |= docs
        except Unavailable:
            continue
    struck = proxy.faults.struck
    proxy.faults.clear()
    home.open().close()
    assert home.findings() == []
    assert len(acknowledged) >= 2
    assert struck.total() > 5
    with Reader.open(bucket, report=lambda _: None) as reader:
        assert {state.uri for state in reader.states()} >= acknowledged.keys()
    assert answers(bucket) == answers(home.folder("0"))
