"""A store is tried before it is trusted, and one that lies is refused by name."""

from __future__ import annotations

import itertools
import time

import pytest

from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.stores.analyze import FOLDER, analyze, refuse_liar
from penstock.index.stores.store import LocalStore
from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.index.s3 import KEYS, server, store_at, token  # noqa: F401 - a fixture is used by its name


@pytest.fixture
def proxy(server):  # noqa: F811 - the fixture of the import
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def remote(server, proxy):  # noqa: F811 - the fixture of the import
    return store_at(f"s3://{server.bucket()}/home", {**KEYS, "AWS_ENDPOINT_URL": proxy.url})


@pytest.fixture
def local(tmp_path):
    return LocalStore.create(tmp_path / "replica", token=token)


class Wrapped:
    """A store with some methods replaced."""

    def __init__(self, store, **replaced):
        self._store = store
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(self._store, name)


def failed(store):
    analysis = analyze(store, clock=time.monotonic, token=token, rounds=2, samples=3)
    return {probe.name for probe in analysis.probes if not probe.passed}


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_an_honest_store_passes_every_probe(kind, request):
    """Every promise is kept, timed, and nothing is left behind; what was there stays."""
    store = request.getfixturevalue(kind)
    store.put_if_absent("mine", b"x")
    analysis = analyze(store, clock=time.monotonic, token=token, samples=5)
    assert [probe.said for probe in analysis.probes if not probe.passed] == []
    assert analysis.passed
    assert [latency.request for latency in analysis.latencies] == ["put", "get", "list"]
    assert all(0 < latency.p50_ms <= latency.p99_ms for latency in analysis.latencies)
    refuse_liar(store, token=token)
    assert list(store.list("")) == ["mine"]


def test_a_server_that_ignores_conditions_is_refused(remote, proxy):
    """If-None-Match lost on the way: analyze shows both probes failing, and the replica is refused, cleaned up."""
    proxy.faults.add(Fault("ignore_conditions", times=None))
    assert {"put if absent", "racing puts"} <= failed(remote)
    with pytest.raises(WrongIndex, match=r"'put if absent' failed.*If-None-Match"):
        refuse_liar(remote, token=token)
    assert list(remote.list("")) == []


@pytest.mark.parametrize(
    ("probe", "replaced"),
    [
        ("read after write", lambda store: {"size": lambda key: 1}),
        ("ranges", lambda store: {"get_range": lambda key, start, end: store.get(key)[start : end + 1]}),
        ("list after write", lambda store: {"list": lambda prefix: iter(list(store.list(prefix))[:-1])}),
        ("delete", lambda store: {"delete": lambda key: None}),
        ("clean up", lambda store: {"delete": lambda key: None}),
        (
            "racing puts",
            lambda store: {"put_if_absent": lambda key, data: store.put_if_absent(key, data) or "race" in key},
        ),
    ],
)
def test_each_broken_promise_fails_its_probe(local, probe, replaced):
    """A store that breaks one promise fails the probe that is named for it."""
    assert probe in failed(Wrapped(local, **replaced(local)))


def test_a_store_that_does_not_delete_is_refused(local):
    """The cheap probes name the promise."""
    with pytest.raises(WrongIndex, match="'delete' failed"):
        refuse_liar(Wrapped(local, delete=lambda key: None), token=token)


def test_a_store_that_is_not_there_is_no_liar(tmp_path):
    """Unavailable stays unavailable; the analysis says so and tries nothing else."""
    gone = LocalStore(tmp_path / "gone", token=token)
    with pytest.raises(Unavailable):
        refuse_liar(gone, token=token)
    analysis = analyze(gone, clock=time.monotonic, token=token)
    assert [(probe.name, probe.passed) for probe in analysis.probes] == [("reachable", False)]
    assert "mounted" in analysis.probes[0].said


def test_probes_stay_in_a_folder_of_their_own(local):
    """No key of a probe could be taken for an index's."""
    keys = []
    spying = Wrapped(local, put_if_absent=lambda key, data: keys.append(key) or local.put_if_absent(key, data))
    numbers = itertools.count()
    analyze(spying, clock=time.monotonic, token=lambda: f"run{next(numbers)}", rounds=1, samples=1)
    assert keys
    assert all(key.startswith(f"{FOLDER}/run0/") for key in keys)
