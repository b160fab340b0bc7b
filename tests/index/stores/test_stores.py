"""What a person writes becomes a store, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.index.errors import WrongIndex
from penstock.index.stores.store import LocalStore
from penstock.index.stores.stores import is_remote, is_url, open_store, same_failure_domain

KEYS = {"AWS_ACCESS_KEY_ID": "TESTKEYID", "AWS_SECRET_ACCESS_KEY": "test-secret-value"}


def opened(place, **environ):
    return open_store(place, token=lambda: "t", environ={**KEYS, **environ})


@pytest.mark.parametrize("place", ["/a/b c", "relative", Path("/a/b c"), "file:///a/b%20c", "FILE:///a"])
def test_a_path_is_a_local_store(place):
    """A path, as text or not, and a file URL: nothing is made."""
    store = opened(place)
    assert isinstance(store, LocalStore)
    assert not is_remote(store)
    wanted = {"file:///a/b%20c": Path("/a/b c"), "FILE:///a": Path("/a")}
    assert store.root == wanted.get(place, Path(place))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("s3://bucket/some/prefix", "s3://bucket/some/prefix"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/", "s3://bucket/a"),
        ("s3://my.bucket_x", "s3://my.bucket_x"),
    ],
)
def test_a_bucket_is_an_object_store(place, name):
    """A bucket, with or without a prefix: nothing is sent, and there is no local path."""
    store = opened(place)
    assert store.name == name
    assert is_remote(store)
    assert store.local_path("a/b") is None


@pytest.mark.parametrize(
    "place",
    [
        "http://host/x",
        "ftp://host/x",
        "postgresql://host/x",
        "s4://bucket",
        "s3://",
        "s3:///prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/a b",
        "s3://b\nucket/a",
        "file://host/path",
        "file://relative",
        Path("s3://bucket/prefix"),
        "s3:/bucket/prefix",
        "s3:bucket/prefix",
        "S3:bucket/prefix",
        Path("gs:bucket"),
    ],
)
def test_what_is_no_store_gets_one_line(place):
    """Another scheme, no bucket, a prefix that is no key, a URL that lost a slash: one line, what to do."""
    with pytest.raises(WrongIndex) as caught:
        opened(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "s3://AKIDEXAMPLE:hunter2@bucket/prefix",
        "s3://bucket/prefix?secret=hunter2",
        "s3://bucket/prefix#hunter2",
        "https://user:hunter2@host/bucket",
        "s3:AKIDEXAMPLE:hunter2@bucket",
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(place):
    """Credentials in a URL would be logged: refused, and the line does not hold them."""
    with pytest.raises(WrongIndex) as caught:
        opened(place)
    assert "hunter2" not in str(caught.value)
    assert "AKIDEXAMPLE" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["host:9000", "ftp://host", "http://user:hunter2@host:9000", "http://h?x=hunter2"])
def test_an_endpoint_that_is_none_is_refused_by_its_variable(endpoint):
    """The variable is named, its value is not repeated."""
    with pytest.raises(WrongIndex, match="AWS_ENDPOINT_URL_S3") as caught:
        opened("s3://bucket/a", AWS_ENDPOINT_URL_S3=endpoint)
    assert "hunter2" not in str(caught.value)


def test_urls_are_told_from_paths():
    """What has a scheme and two slashes is a URL."""
    assert is_url("s3://b/p")
    assert is_url("weird+x://b")
    assert not is_url("/a/s3://b")
    assert not is_url("c:/x")
    assert not is_url(Path("/a"))


def test_replicas_that_fail_together_are_named(tmp_path):
    """Two folders of one disk, two prefixes of one bucket; different endpoints are different."""
    local = {name: LocalStore.create(tmp_path / name, token=lambda: "t") for name in "ab"}
    line = same_failure_domain({**local, "c": opened("s3://bucket/c")})
    assert line is not None
    assert line.startswith("replicas a and b share one disk (device")
    assert ";" not in line.split(":")[0]
    line = same_failure_domain({"c": opened("s3://bucket/c"), "d": opened("s3://bucket/d"), "a": local["a"]})
    assert line is not None
    assert "c and d share one bucket" in line
    other = opened("s3://bucket/d", AWS_ENDPOINT_URL="http://elsewhere:1")
    assert same_failure_domain({"c": opened("s3://bucket/c"), "d": other, "a": local["a"]}) is None


def test_a_replica_that_is_not_there_shares_nothing(tmp_path):
    """An absent directory has no disk to be compared; nothing is raised."""
    there = LocalStore.create(tmp_path / "a", token=lambda: "t")
    assert same_failure_domain({"a": there, "b": LocalStore(tmp_path / "gone", token=lambda: "t")}) is None
