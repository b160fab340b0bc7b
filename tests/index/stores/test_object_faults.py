"""The object store against a real server behind a faulty network: unknown is never success, nothing hangs."""

from __future__ import annotations

import time
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.index.errors import NoSpace, Unavailable
from penstock.index.stores import patience
from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.index.s3 import KEYS, server, store_at  # noqa: F401 - a fixture is used by its name

BOUND = 9.0


@pytest.fixture
def proxy(server):  # noqa: F811 - the fixture of the import
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def place(server):  # noqa: F811 - the fixture of the import
    return f"s3://{server.bucket()}/home"


@pytest.fixture
def store(place, proxy):
    return store_at(place, {**KEYS, "AWS_ENDPOINT_URL": proxy.url})


@pytest.fixture
def direct(place, server):  # noqa: F811 - the fixture of the import
    """The same store without the faulty network."""
    return store_at(place, server.environ)


def uses(store):
    return {
        "put": lambda: store.put_if_absent("log/2", b"x"),
        "get": lambda: store.get("log/1"),
        "range": lambda: store.get_range("log/1", 0, 1),
        "size": lambda: store.size("log/1"),
        "list": lambda: list(store.list("log/")),
        "delete": lambda: store.delete("log/1"),
        "probe": store.probe,
    }


def test_a_client_that_panics_is_a_store_that_cannot_be_used(monkeypatch):
    """Its panic is no `Exception` and would pass everybody; it comes at once, and is not tried again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")  # what its authors did not think of
    for use in uses(store_at("s3://bucket/home", KEYS)).values():
        with pytest.raises(Unavailable, match="the client broke down"):
            use()


def test_a_lost_reply_to_a_put_is_read_back(store, proxy):
    """The server acted and the answer was lost: the next attempt meets its own value and says True."""
    proxy.faults.add(Fault("drop_reply", method="PUT"))
    assert store.put_if_absent("log/1", b"value") is True
    assert store.get("log/1") == b"value"
    assert proxy.faults.struck["drop_reply"] == 1


def test_an_error_after_the_put_was_done_is_read_back(store, proxy):
    """A 500 does not say that nothing happened."""
    proxy.faults.add(Fault("status_after", method="PUT"))
    assert store.put_if_absent("log/1", b"value") is True
    assert store.get("log/1") == b"value"


def test_a_request_that_was_lost_while_another_won_is_false(store, direct, proxy):
    """The same bytes, put by somebody else while ours were lost: the mark says that ours did not win."""
    proxy.faults.add(Fault("drop_request", method="PUT"))
    proxy.faults.add(Fault("slow", method="PUT", seconds=0.3, times=2))
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(store.put_if_absent, "log/1", b"same")
        assert direct.put_if_absent("log/1", b"same") is True
        assert ours.result() is False


def test_a_value_that_was_damaged_on_its_way_is_not_taken_for_ours(store, proxy):
    """The mark is ours and the bytes are not: after a lost reply that is no success."""
    proxy.faults.add(Fault("alter_body", method="PUT"), Fault("drop_reply", method="PUT"))
    with pytest.raises(Unavailable, match="other bytes"):
        store.put_if_absent("log/1", b"value")


@pytest.mark.parametrize(("there", "won"), [(b"value", True), (b"other", False)])
def test_without_metadata_the_bytes_decide(store, direct, proxy, there, won):
    """A server that keeps no metadata: after a lost reply equal bytes are taken for one's own, others are not."""
    proxy.faults.add(Fault("ignore_metadata", times=None))
    if won:
        proxy.faults.add(Fault("drop_reply", method="PUT"))
    else:
        store.put_if_absent("log/1", there)
        proxy.faults.add(Fault("drop_request", method="PUT"))
    assert store.put_if_absent("log/1", b"value") is won
    assert direct.get("log/1") == there


def test_a_value_that_is_there_without_doubt_is_not_ours(store, proxy):
    """Without metadata and without a lost reply, equal bytes are somebody else's."""
    proxy.faults.add(Fault("ignore_metadata", times=None))
    assert store.put_if_absent("log/1", b"same") is True
    assert store.put_if_absent("log/1", b"same") is False


@pytest.mark.parametrize("status", [500, 503, 409])
def test_a_burst_of_errors_is_waited_out(store, proxy, status):
    """Two errors in a row are no failure, whatever is asked; a 409 is not taken for a 412."""
    store.put_if_absent("log/1", b"x")
    for name, use in uses(store).items():
        if status == 409 and name not in ("put", "probe"):
            continue
        method = "PUT" if status == 409 else ""
        proxy.faults.add(Fault("status", method=method, status=status, times=2, code="SlowDown"))
        use()
        assert proxy.faults.struck["status"] >= 2
        proxy.faults.clear()
    assert store.get("log/2") == b"x"


@pytest.fixture
def impatient(monkeypatch):
    """The limits in small, where their size is not the point."""
    monkeypatch.setattr(patience, "BUDGET", 1.0)


def test_a_conflict_that_never_ends_is_unavailable(impatient, store, proxy):
    """A server that says 409 for ever costs a bounded time, and the key is not there."""
    proxy.faults.add(Fault("status", method="PUT", status=409, times=None, code="ConditionalRequestConflict"))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="conflict"):
        store.put_if_absent("log/1", b"x")
    assert time.monotonic() - began < 3
    assert store.size("log/1") is None


def test_a_server_that_hangs_or_is_gone_costs_seconds(store, direct, proxy, server, place):  # noqa: F811
    """Every request is `Unavailable` within seconds, whether nobody answers or nobody listens."""
    direct.put_if_absent("log/1", b"x")
    gone = FaultyProxy(server.url).start()
    refusing = store_at(place, {**KEYS, "AWS_ENDPOINT_URL": gone.url})
    gone.down()
    proxy.faults.add(Fault("hang", times=None))

    def cost(use):
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"cannot (write|read|list|delete)"):
            use()
        return time.monotonic() - began

    every = [*uses(store).values(), *uses(refusing).values()]
    with ThreadPoolExecutor(len(every)) as pool:
        assert max(pool.map(cost, every)) < BOUND
    proxy.faults.clear()
    assert direct.get("log/1") == b"x"


def test_a_server_that_returns_is_used_again(impatient, store, proxy):
    """After an outage the same store object goes on, and what was kept is there."""
    store.put_if_absent("log/1", b"x")
    proxy.down()
    with pytest.raises(Unavailable, match="cannot read"):
        store.get("log/1")
    proxy.up()
    assert store.get("log/1") == b"x"
    assert store.put_if_absent("log/2", b"y") is True


def test_a_body_that_is_cut_short_is_never_the_value(impatient, store, direct, proxy):
    """Cut once, the rest is fetched; cut every time, it is `Unavailable`; small, large and in ranges."""
    values = {"small": b"0123456789" * 100, "large": bytes(range(256)) * (40 << 10)}
    for key, value in values.items():
        direct.put_if_absent(key, value)
        for read in (lambda key=key: store.get(key), lambda key=key: store.get_range(key, 0, 1 << 30)):
            proxy.faults.add(Fault("truncate", method="GET"))
            assert read() == value
            assert proxy.faults.struck["truncate"] >= 1
    proxy.faults.add(Fault("truncate", method="GET", times=None))
    for read in (lambda: store.get("small"), lambda: store.get_range("small", 5, 500)):
        with pytest.raises(Unavailable):
            read()


def test_a_body_that_was_shortened_on_its_way_is_never_the_value(impatient, store, direct, proxy):
    """Half a body under a Content-Length that agrees: what a part says of the whole gives it away."""
    direct.put_if_absent("small", b"0123456789")
    for read in (lambda: store.get("small"), lambda: store.get_range("small", 2, 8)):
        proxy.faults.add(Fault("shorten", method="GET"))
        assert read() in (b"0123456789", b"234567")
        assert proxy.faults.struck["shorten"] >= 1
    proxy.faults.add(Fault("shorten", method="GET", times=None))
    for read in (lambda: store.get("small"), lambda: store.get_range("small", 2, 8)):
        with pytest.raises(Unavailable):
            read()


def test_a_listing_that_breaks_goes_on_where_it_was(store, direct, proxy):
    """More than a server's page: the second page is cut short, and every key is listed once, in order."""
    keys = [f"log/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: direct.put_if_absent(key, b""), keys))
    proxy.faults.add(Fault("truncate", key="continuation-token", times=2))
    assert list(store.list("log/")) == keys
    assert proxy.faults.struck["truncate"] >= 1


@pytest.mark.parametrize(("status", "code"), [(403, "SignatureDoesNotMatch"), (403, "AccessDenied"), (401, "No")])
def test_refused_credentials_say_what_to_set_and_not_what_they_are(store, proxy, status, code):
    """One line names the variables; no secret, key id or signature is in it or in the traceback."""
    proxy.faults.add(Fault("status", status=status, code=code, times=None))
    for use in uses(store).values():
        with pytest.raises(Unavailable, match="AWS_SECRET_ACCESS_KEY") as caught:
            use()
        told = "".join(traceback.format_exception(caught.value)) + repr(store)
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in told
        assert KEYS["AWS_ACCESS_KEY_ID"] not in told
        assert "Signature=" not in told


def test_a_full_store_is_no_space(store, proxy):
    """A quota or a full disk behind the server is `NoSpace`, at once."""
    for status, code in ((507, "XMinioStorageFull"), (403, "QuotaExceeded")):
        proxy.faults.add(Fault("status", method="PUT", status=status, code=code))
        with pytest.raises(NoSpace, match="full"):
            store.put_if_absent("log/1", b"x")
    assert store.put_if_absent("log/1", b"x") is True


def test_a_bucket_that_is_not_there_is_unavailable(server):  # noqa: F811
    """A missing bucket is never taken for an empty one: everything says so, at once."""
    store = store_at("s3://nobody-made-this/home", server.environ)
    began = time.monotonic()
    for use in uses(store).values():
        with pytest.raises(Unavailable, match="no such bucket"):
            use()
    assert time.monotonic() - began < 3


def test_no_credentials_are_said_before_anything_is_sent(place, proxy):
    """Without keys, or with half of them, one line names what to set and no request leaves."""
    for environ in ({}, {"AWS_ACCESS_KEY_ID": "a"}):
        store = store_at(place, {**environ, "AWS_ENDPOINT_URL": proxy.url})
        for use in uses(store).values():
            with pytest.raises(Unavailable, match="AWS_ACCESS_KEY_ID"):
                use()
    assert proxy.requests == []


def test_what_others_keep_in_the_bucket_is_passed_over(store, direct, server, place):  # noqa: F811
    """The folder's own marker and names that are no keys are not listed."""
    base = f"{server.url}/{place.removeprefix('s3://')}"
    for name in ("/", "/log/sp%20ace", "/%C3%A9", "/log/1"):
        urllib.request.urlopen(urllib.request.Request(base + name, method="PUT", data=b"x")).close()
    assert list(store.list("")) == ["log/1"]
    assert list(store.list("log/")) == ["log/1"]


def test_a_large_value_is_looked_for_before_it_is_sent(store, direct, proxy):
    """What is there is not sent again; what landed with a lost reply is found, and the server hears of it once."""
    body = bytes(range(256)) * (40 << 10)
    direct.put_if_absent("blobs/there", body)
    assert store.put_if_absent("blobs/there", body) is False
    assert [method for method, _ in proxy.requests] == ["HEAD"]
    proxy.faults.add(Fault("drop_reply", method="PUT"))
    assert store.put_if_absent("blobs/new", body) is True
    assert [method for method, _ in proxy.requests].count("PUT") == 1


def test_a_server_that_checks_keys_refuses_wrong_ones(place, server):  # noqa: F811
    """Real authentication: a secret that is not the key's is refused in one line that says what to set."""
    store = store_at(place, server.environ)
    with server.checking_keys(), pytest.raises(Unavailable, match=r"access is refused .*AWS_SECRET_ACCESS_KEY"):
        store.put_if_absent("log/1", b"x")
    assert store.put_if_absent("log/1", b"x") is True


def test_a_value_too_large_for_one_put_is_refused(store, proxy, tmp_path):
    """More than one PUT may have is said before a byte is sent."""
    source = tmp_path / "huge"
    with source.open("wb") as out:
        out.truncate((5 << 30) + 1)
    with pytest.raises(Unavailable, match="more than one put"):
        store.put_if_absent("blobs/huge", source)
    assert proxy.requests == []
