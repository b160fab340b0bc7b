"""What is particular to buckets: keys of any form, parts of one object, and what servers do wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.sources import object_client, s3_listing
from penstock.connectors.sources.objects import ObjectsOptions, ObjectsSource, token
from penstock.connectors.types import Gap, Item, RejectItem, RetryLater, StopSource
from tests.connectors.sources.bucket import BucketBench
from tests.fakes.s3_faults import Fault
from tests.index.s3 import S3Server, server  # noqa: F401 - a fixture


@pytest.fixture
def bench(tmp_path: Path, server: S3Server) -> Iterator[BucketBench]:  # noqa: F811
    with contextlib.ExitStack() as stack:
        yield BucketBench(tmp_path, server, stack)


def listed(bench: BucketBench) -> dict[str, Item]:
    return {each.uri.removeprefix("notes/"): each for each in bench.open().list() if isinstance(each, Item)}


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "ctrl\x01\x7f", "a+b c%20&d=e#f?g", "a/.hidden", "x" * 1024])
def test_keys_that_are_no_paths_are_fetched_all_the_same(bench: BucketBench, key: str) -> None:
    """Each by itself, among others that would be the same if they were paths."""
    for other in ("a", "a/b", "b"):
        bench.put(other, f"text of {other}")
    bench.put(key, "its own text")
    source = bench.open()
    found = listed(bench)
    assert set(found) == {"a", "a/b", "b", key}
    assert bench.fetched(source, found[key])[0] == "its own text"
    assert bench.fetched(source, found["a"])[0] == "text of a"


def test_keys_that_no_url_can_hold_are_gaps(bench: BucketBench) -> None:
    """And hide nothing beside them."""
    for key in ("a/../b", "..", "a/./b", "nul\0key", "good"):
        bench.put(key, "text")
    entries = list(bench.open().list())
    assert [each.uri for each in entries if isinstance(each, Item)] == ["notes/good"]
    assert {each.uri_prefix for each in entries if isinstance(each, Gap)} == {
        "notes/..",
        "notes/a/../b",
        "notes/a/./b",
        "notes/nul%00key",
    }


def test_markers_of_folders_are_no_documents(bench: BucketBench) -> None:
    """An empty object is one, if its key does not end in a slash."""
    for key in ("folder/", "folder/deep/", "folder/empty"):
        bench.put(key, "")
    source = bench.open()
    assert set(found := listed(bench)) == {"folder/empty"}
    assert bench.fetched(source, found["folder/empty"])[0] == ""


def test_a_prefix_is_a_folder(bench: BucketBench) -> None:
    """What merely begins with the same letters lies elsewhere; patterns see what is below it."""
    for key in ("docs/a.md", "docs/b.txt", "docs/deep/c.md", "docs/old/d.md", "docsy/e.md", "f.md", "docs/"):
        bench.put(key, key)
    bench.options.update(url=f"s3://{bench.bucket}/docs/", include=["*.md"], exclude=["/old"])
    source = bench.open()
    found = listed(bench)
    assert set(found) == {"a.md", "deep/c.md"}
    text, got = bench.fetched(source, found["deep/c.md"])
    assert (text, got.url, got.name) == ("docs/deep/c.md", f"s3://{bench.bucket}/docs/deep/c.md", "c.md")


def test_requests_are_signed_as_s3_wants_it(bench: BucketBench, server: S3Server) -> None:  # noqa: F811
    """Listings with any character in them, and objects whatever their key, before a server that checks."""
    import boto3

    iam = boto3.client(
        "iam", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
    )
    name = f"reader-of-{bench.bucket}"
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(allowed))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    bench.kit.secrets = {"KEY": keys["AccessKeyId"], "SECRET": keys["SecretAccessKey"]}
    bench.options.update(url=f"s3://{bench.bucket}/ünï code+%20&=", page_size=1)
    for name in ("a b", "a//b", "ü+%41"):
        bench.put(f"ünï code+%20&=/{name}", name)
    with server.checking_keys():
        source, found = bench.open(), listed(bench)
        assert {name: bench.fetched(source, item)[0] for name, item in found.items()} == {name: name for name in found}
        assert set(found) == {"a b", "a//b", "ü+%41"}
        bench.kit.secrets = {**bench.kit.secrets, "SECRET": "wrong"}
        with pytest.raises(StopSource, match="credentials are refused"):
            listed(bench)


def test_a_large_object_comes_in_parts_of_one_etag(bench: BucketBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put anew between two parts, it is read again from its start."""
    monkeypatch.setattr(object_client, "PIECE", 1000)
    bench.put("big", "a" * 3500)
    (item,) = listed(bench).values()
    after(monkeypatch, 2, lambda: bench.put("big", "b" * 2500))
    text, got = bench.fetched(bench.open(), item)
    assert text == "b" * 2500
    assert got.version == listed(bench)["big"].version != item.version


def test_an_object_that_never_settles_is_tried_later(bench: BucketBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as a mixture of two."""
    monkeypatch.setattr(object_client, "PIECE", 1000)
    bench.put("big", "a" * 3500)
    (item,) = listed(bench).values()
    turns = iter(range(1000))
    after(monkeypatch, 1, lambda: bench.put("big", f"{next(turns):04}" * 700), again=True)
    with pytest.raises(RetryLater) as error:
        bench.open().fetch(item)
    assert error.value.reason == "changing"


def test_an_object_that_is_deleted_between_two_parts_is_missing(
    bench: BucketBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves no file behind."""
    monkeypatch.setattr(object_client, "PIECE", 1000)
    bench.put("big", "a" * 3500)
    (item,) = listed(bench).values()
    after(monkeypatch, 2, lambda: bench.delete("big"))
    with pytest.raises(FileNotFoundError):
        bench.open().fetch(item)
    assert list(bench.kit.scratch.iterdir()) == []


def after(patch: pytest.MonkeyPatch, parts: int, act: Callable[[], None], *, again: bool = False) -> None:
    """`act` when so many parts have been read; `again` after each."""
    original, count = object_client.ObjectClient.part, 0

    def part(self: Any, *given: Any) -> Any:
        nonlocal count
        found = original(self, *given)
        count += 1
        if count == parts or (again and count >= parts):
            act()
        return found

    patch.setattr(object_client.ObjectClient, "part", part)


def test_bytes_that_are_not_those_of_the_etag_are_read_again(
    bench: BucketBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged once, they come right; with an etag that is no digest, two equal readings are taken as they are."""
    bench.put("it", "right")
    (item,) = listed(bench).values()
    damage(monkeypatch, [b"wrong"])
    assert bench.fetched(bench.open(), item)[0] == "right"
    damage(monkeypatch, [b"wrong", b"worse", b"wrung", b"wring"])
    with pytest.raises(RetryLater) as error:
        bench.open().fetch(item)
    assert error.value.reason == "garbled"
    damage(monkeypatch, [b"coded", b"coded", b"plain"])
    source = bench.open()
    assert [bench.fetched(source, item)[0] for _ in range(2)] == ["coded", "plain"]


def damage(patch: pytest.MonkeyPatch, answers: list[bytes]) -> None:
    """The next answers have these bytes in place of their own."""
    original = object_client.ObjectClient._part

    def part(self: Any, *given: Any) -> Any:
        found = original(self, *given)
        return replace(found, data=answers.pop(0)) if answers else found

    patch.setattr(object_client.ObjectClient, "_part", part)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault("status", status=503, code="SlowDown", times=2), "throttled"),
        (Fault("status", status=500, times=2), "failed"),
        (Fault("truncate", times=2), "failed"),
        (Fault("drop_reply", times=2), "failed"),
    ],
)
def test_what_passes_is_asked_for_again(bench: BucketBench, fault: Fault, outcome: str) -> None:
    """Each time with a permit of its own, whose outcome says what happened; how often is counted."""
    bench.put("it", "text")
    (item,) = listed(bench).values()
    bench.proxy.faults.add(fault)
    text, got = bench.fetched(bench.open(), item)
    assert (text, got.retries) == ("text", 2)
    verdicts = [outcome.verdict for outcome in bench.kit.budget.outcomes]
    assert verdicts == ["ok", outcome, outcome, "ok"]
    assert len(bench.kit.time.slept) == 2


def test_an_answer_that_is_shorter_than_the_object_is_none(bench: BucketBench) -> None:
    """Although the connection ends in good order."""
    bench.put("it", "text" * 100)
    (item,) = listed(bench).values()
    bench.proxy.faults.add(Fault("shorten", key="/it", times=None))
    with pytest.raises(RetryLater) as error:
        bench.open().fetch(item)
    assert error.value.reason in ("truncated", "unreachable")
    bench.proxy.faults.clear()
    bench.proxy.faults.add(Fault("shorten", key="list-type", times=1))
    assert set(listed(bench)) == {"it"}


def test_a_server_that_says_nothing_is_given_up(bench: BucketBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, each time."""
    monkeypatch.setattr(object_client, "SILENCE", 0.1)
    bench.put("it", "text")
    bench.proxy.faults.add(Fault("hang", times=None))
    with pytest.raises(RetryLater) as error:
        listed(bench)
    assert error.value.reason == "timed_out" and error.value.retries == object_client.ATTEMPTS - 1


def test_access_that_is_denied_to_the_bucket_stops_the_source(bench: BucketBench) -> None:
    """To one object, it is that object's matter."""
    bench.put("it", "text")
    bench.proxy.faults.add(Fault("status", status=403, code="AccessDenied", key="list-type"))
    with pytest.raises(StopSource, match="s3:ListBucket"):
        listed(bench)


def test_an_object_that_grew_beyond_the_limit_is_rejected(bench: BucketBench) -> None:
    """By what its first part says, whatever the listing said."""
    bench.put("it", "text")
    (item,) = listed(bench).values()
    bench.put("it", "x" * (bench.max_bytes + 1))
    before = bench.kit.budget.permits
    with pytest.raises(RejectItem) as error:
        bench.open().fetch(item)
    assert error.value.reason == "too_large" and bench.kit.budget.permits == before + 1


@pytest.mark.parametrize(
    ("etag", "written"),
    [('"abc"', "abc-5"), ("abc", "abc-5"), ('W/"abc"', "abc-5"), ("", "20260102T030405Z-5")],
)
def test_a_token_is_the_same_however_the_server_writes_it(etag: str, written: str) -> None:
    """Quotes, weakness, and parts of seconds differ between listings and answers."""
    assert token(etag, 5, 1767323045.678) == token(etag, 5, 1767323045.0) == written


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>It works!</html>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
    ],
)
def test_what_is_no_whole_listing_is_garbled(body: bytes) -> None:
    """And never an empty bucket."""
    with pytest.raises(s3_listing.Garbled):
        s3_listing.page_of(body)


def test_a_listing_without_a_token_goes_on_after_its_last_key() -> None:
    """Keys that are not encoded are XML; nothing else is ever expanded."""
    page = s3_listing.page_of(
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e "boom">]><ListBucketResult xmlns="x">'
        b"<IsTruncated>true</IsTruncated><Contents><Key>a+&amp;&e;</Key><Size>3</Size></Contents></ListBucketResult>\n"
    )
    assert [(each.key, each.etag, each.modified) for each in page.found] == [("a+&&e;", "", None)]
    assert page.after == {"start-after": "a+&&e;"}
    assert "start-after=a%2B%26%26e%3B" in s3_listing.query("", 10, page.after)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"url": "http://bucket/x"}, "url"),
        ({"url": "s3://AKIA:secret@bucket/x"}, "url"),
        ({"url": "s3:///x"}, "url"),
        ({"url": "s3://bucket/a//b"}, "url"),
        ({"endpoint": "http://minio:9000"}, "endpoint"),
        ({"endpoint": "https://me:secret@minio"}, "endpoint"),
        ({"url": "gs://bucket", "endpoint": "https://minio"}, "endpoint"),
        ({"region": "eu west"}, "region"),
        ({"access_key": "${A}"}, "access_key"),
        ({"url": "gs://bucket", "access_key": "${A}"}, "access_key"),
        ({"anonymous": True, "access_key": "${A}", "secret_key": "${S}"}, "anonymous"),
        ({"account": "me"}, "account"),
        ({"include": ["[z-a]"]}, "include"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(wrong: dict[str, Any], key: str) -> None:
    """One line that begins with the key; never the password."""
    options = msgspec.convert({"url": "s3://bucket/prefix", **wrong}, ObjectsOptions)
    with pytest.raises(ValueError, match=f"^{key}") as error:
        options.anchored(Path("/"))
    assert "secret@" not in str(error.value) and "\n" not in str(error.value)


def test_a_binding_names_the_place_and_its_server() -> None:
    """Two servers may have a bucket of one name."""
    made = [
        ObjectsOptions(url="s3://bucket/a/"),
        ObjectsOptions(url="s3://bucket/a", endpoint="https://minio.example.org:9000/"),
        ObjectsOptions(url="s3://bucket/a", endpoint="https://s3.example.org", virtual_hosted=True),
        ObjectsOptions(url="az://container"),
    ]
    assert [each.binding() for each in made] == [
        "s3://bucket/a",
        "https://minio.example.org:9000/bucket/a/",
        "https://bucket.s3.example.org/a/",
        "az://container",
    ]


def test_other_clouds_are_opened_by_the_same_door(bench: BucketBench) -> None:
    """Nobody is asked yet."""
    for url in ("gs://bucket/a", "az://container/a"):
        bench.options = {"url": url, "anonymous": True, "account": "me" if url.startswith("az") else ""}
        source = bench.open()
        assert isinstance(source, ObjectsSource)
        assert source._client._store() is not None
