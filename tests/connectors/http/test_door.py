"""One request: what is sent, what its status means, how it is repeated, and what the budget hears of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.connectors.http.types import Reply
from penstock.connectors.types import RejectItem, RetryLater, StopSource
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, in_turn, raw, saying, serving


def test_a_request_is_sent_as_it_was_asked_for(tmp_path: Path) -> None:
    """Parameters are added to those of the URL; headers are the caller's; only gzip is offered."""
    with serving(saying(200, '{"a": [1]}', X_Two="b", ETag='"e"')) as server:
        at = bench(tmp_path)
        reply = at.door.request(f"{server.url}/p?x=1&x=2#f", params={"y": "ä b", "z": 3}, headers={"X-Mine": "v"})
        heard = server.heard[0]
        assert heard.target == "/p?x=1&x=2&y=%C3%A4%20b&z=3" or heard.target == "/p?x=1&x=2&y=%C3%A4+b&z=3"
        assert (heard.headers["x-mine"], heard.headers["accept-encoding"]) == ("v", "gzip")
        assert heard.headers["user-agent"] == "penstock"
        assert (reply.status, reply.json(), reply.headers["x-two"], reply.headers["etag"]) == (
            200,
            {"a": [1]},
            "b",
            '"e"',
        )
        assert "x-two" not in repr(reply)


def test_json_and_forms_are_posted(tmp_path: Path) -> None:
    """With their content types; an empty object is a body too."""
    with serving(saying(200)) as server:
        door = bench(tmp_path).door
        door.request(server.url, method="POST", json={})
        door.request(server.url, method="POST", form={"a": "1 2", "b": "ü"})
        door.request(server.url, method="HEAD")
        assert [heard.body for heard in server.heard] == [b"{}", b"a=1+2&b=%C3%BC", b""]
        assert server.heard[0].headers["content-type"] == "application/json"
        assert server.heard[1].headers["content-type"] == "application/x-www-form-urlencoded"


def test_an_unchanged_page_costs_no_body(tmp_path: Path) -> None:
    """A conditional request: 304 is an answer where the caller expects it."""
    with serving(saying(304, ETag='"v1"')) as server:
        reply = bench(tmp_path).door.request(server.url, headers={"If-None-Match": '"v1"'}, accept_statuses=(304,))
        assert (reply.status, reply.body) == (304, b"")
        assert server.heard[0].headers["if-none-match"] == '"v1"'


def test_what_a_304_says_of_the_body_is_not_about_its_own(tmp_path: Path) -> None:
    """Its length and digest are those of the page that did not change; the same goes for HEAD."""
    head = "Content-Length: 999999999\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Encoding: br\r\n\r\n"
    plays = [raw("HTTP/1.1 304 Not Modified\r\n" + head), raw("HTTP/1.1 200 OK\r\n" + head)]
    with serving(in_turn(*plays)) as server:
        door = bench(tmp_path).door
        assert door.request(server.url, accept_statuses=(304,)).body == b""
        assert door.request(server.url, method="HEAD").body == b""


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_not_found(tmp_path: Path, status: int) -> None:
    """At once, and no fault of the source."""
    with serving(saying(status)) as server:
        at = bench(tmp_path)
        with pytest.raises(FileNotFoundError):
            at.door.request(server.url)
        with pytest.raises(FileNotFoundError):
            at.door.download(server.url, max_bytes=10)
        assert at.verdicts() == ["ok", "ok"] and at.leftovers() == []


def test_what_we_may_not_read_is_forbidden(tmp_path: Path) -> None:
    """403 is asked for once."""
    with serving(saying(403)) as server:
        at = bench(tmp_path)
        for act in (lambda: at.door.request(server.url), lambda: at.door.download(server.url, max_bytes=10)):
            with pytest.raises(RetryLater) as caught:
                act()
            assert caught.value.reason == "forbidden"
        assert len(server.heard) == 2


@pytest.mark.parametrize("status", [400, 405, 406, 422, 501])
def test_a_broken_contract_stops_the_source_or_one_item(tmp_path: Path, status: int) -> None:
    """A page that is refused stops the source; a download that is refused is that item's trouble."""
    with serving(saying(status)) as server:
        at = bench(tmp_path)
        with pytest.raises(StopSource, match=str(status)):
            at.door.request(server.url)
        with pytest.raises(RetryLater) as caught:
            at.door.download(server.url, max_bytes=10)
        assert caught.value.reason == "refused" and len(server.heard) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
def test_a_servers_error_is_tried_again(tmp_path: Path, status: int) -> None:
    """With growing waits; the answer counts how often."""
    with serving(in_turn(saying(status), saying(status), saying(200, "well"))) as server:
        at = bench(tmp_path)
        reply = at.door.request(server.url)
        assert (reply.body, reply.retries, at.door.retries) == (b"well", 2, {"server_error": 2})
        assert at.verdicts() == ["throttled" if status == 503 else "failed"] * 2 + ["ok"]
        assert len(at.slept) == 2 and 0 <= at.slept[0] <= 0.5 and 0 <= at.slept[1] <= 1.0


def test_retries_end_after_the_attempts(tmp_path: Path) -> None:
    """The error says what it was and how often it was asked; the counts are by reason."""
    with serving(saying(500)) as server:
        at = bench(tmp_path, rules={"attempts": 4})
        with pytest.raises(RetryLater, match="asked 4 times") as caught:
            at.door.request(server.url)
        assert (caught.value.reason, caught.value.retries) == ("server_error", 3)
        assert at.door.retries == {"server_error": 3} and len(server.heard) == 4


def test_retries_end_when_the_time_is_over(tmp_path: Path) -> None:
    """No attempt is begun that would have to wait beyond `retry_seconds`."""
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    with serving(saying(500)) as server:
        at = bench(
            tmp_path,
            rules={"attempts": 100, "retry_seconds": 60.0, "read_seconds": 5, "total_seconds": 9, "connect_seconds": 5},
            sleep=sleep,
            monotonic=lambda: now[0],
            random=lambda: 0.999,
        )
        with pytest.raises(RetryLater):
            at.door.request(server.url)
        assert sum(slept) <= 60 and len(slept) == 6


def test_waits_grow_have_full_jitter_and_a_ceiling(tmp_path: Path) -> None:
    """Evenly from nothing to 0.5, 1, 2 … 60 seconds, by the injected chance."""
    with serving(saying(500)) as server:
        at = bench(tmp_path, rules={"attempts": 10, "retry_seconds": 1e6}, random=lambda: 0.5)
        with pytest.raises(RetryLater):
            at.door.request(server.url)
        assert at.slept == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_cooldown_is_the_budgets_to_wait_for(tmp_path: Path) -> None:
    """429 with Retry-After: everybody waits, in the budget, and the request does not wait a second time itself."""
    with serving(in_turn(saying(429, Retry_After="7"), saying(200, "now"))) as server:
        at = bench(tmp_path)
        assert at.door.request(server.url).body == b"now"
        assert [(o.verdict, o.cooldown) for o in at.budget.outcomes] == [("throttled", 7.0), ("ok", 0.0)]
        assert sum(at.slept) == 0 and at.door.retries == {"throttled": 1}


def test_throttling_has_more_patience_than_faults(tmp_path: Path) -> None:
    """A source that asks us to slow down is not broken; there is an end to it all the same."""
    with serving(saying(429)) as server:
        at = bench(tmp_path, rules={"attempts": 3})
        with pytest.raises(RetryLater) as caught:
            at.door.request(server.url)
        assert caught.value.reason == "throttled" and len(server.heard) == 12


def test_a_cooldown_is_reported_with_a_good_answer_too(tmp_path: Path) -> None:
    """The last request of a window says so: nobody has to run into 429 first."""
    play = saying(200, "x", X_RateLimit_Remaining="0", X_RateLimit_Reset="9")
    with serving(play) as server:
        at = bench(tmp_path)
        at.door.request(server.url)
        assert [(o.verdict, o.cooldown) for o in at.budget.outcomes] == [("ok", 9.0)]


def test_a_403_that_asks_to_wait_is_a_throttle(tmp_path: Path) -> None:
    """Some services refuse with 403 when a quota is spent."""
    with serving(in_turn(saying(403, Retry_After="2"), saying(200, "x"))) as server:
        at = bench(tmp_path)
        assert at.door.request(server.url).retries == 1
        assert at.verdicts() == ["throttled", "ok"]


def test_the_connector_may_dislike_an_answer(tmp_path: Path) -> None:
    """`valid` turns an answer that lies about its success into a fault like any other, cooldown included."""
    with serving(in_turn(saying(200, '{"error": "maxlag"}'), saying(200, "<html>"), saying(200, "{}"))) as server:

        def valid(reply: Reply) -> None:
            if "error" in reply.json():
                raise RetryLater("the wiki lags", 5.0, reason="throttled")

        at = bench(tmp_path)
        reply = at.door.request(server.url, valid=valid)
        assert reply.retries == 2 and at.door.retries == {"throttled": 1, "garbled": 1}
        assert [(o.verdict, o.cooldown) for o in at.budget.outcomes] == [("throttled", 5.0), ("ok", 0.0), ("ok", 0.0)]


def test_the_connectors_own_error_is_what_is_raised_in_the_end(tmp_path: Path) -> None:
    """Its words, its reason, with the number of retries."""

    def valid(reply: Reply) -> None:
        raise RetryLater("the wiki is read-only", reason="server_error")

    with serving(saying(200)) as server, pytest.raises(RetryLater, match="read-only") as caught:
        bench(tmp_path).door.request(server.url, valid=valid)
    assert (caught.value.reason, caught.value.retries) == ("server_error", 2)


def test_what_valid_raises_otherwise_is_raised_at_once(tmp_path: Path) -> None:
    """StopSource and RejectItem are no faults."""

    def valid(reply: Reply) -> None:
        raise RejectItem("no text", reason="empty")

    with serving(saying(200)) as server:
        at = bench(tmp_path)
        with pytest.raises(RejectItem):
            at.door.request(server.url, valid=valid)
        assert len(server.heard) == 1 and at.verdicts() == ["ok"]


@pytest.mark.parametrize("body", ["", "<html>", '{"a":', "[" * 100000, "\xff\xfe", "1" * 5000])
def test_what_is_no_json_is_garbled(tmp_path: Path, body: str) -> None:
    """Whatever it is instead: also what is nested deeper than anybody reads, or a number of thousands of digits."""
    with serving(saying(200, body.encode("latin-1"))) as server, pytest.raises(RetryLater) as caught:
        bench(tmp_path).door.request(server.url).json()
    assert caught.value.reason == "garbled"


def test_a_lost_connection_is_tried_again(tmp_path: Path) -> None:
    """Before the answer, within its head, within its body."""
    plays = [raw("", then="reset"), raw("HTTP/1.1 200 O", then="reset"), raw("HTTP/1.1 200 OK\r\nContent-Le")]
    plays += [raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", then="reset"), saying(200, "whole")]
    with serving(in_turn(*plays)) as server:
        at = bench(tmp_path, rules={"attempts": 9})
        reply = at.door.request(server.url)
        assert reply.body == b"whole" and reply.retries == 4
        assert sum(at.door.retries.values()) == 4 and set(at.door.retries) <= {"reset", "truncated", "garbled"}


def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is tried again; in the end the source is unreachable."""
    with serving(saying(200)) as server:
        url = server.url
    at = bench(tmp_path)
    with pytest.raises(RetryLater) as caught:
        at.door.request(url)
    assert caught.value.reason == "unreachable" and at.door.retries == {"connect": 2}


def test_an_idle_connection_that_was_closed_is_no_fault(tmp_path: Path) -> None:
    """A server that hangs up between two requests is met with a new connection, not with a retry."""

    def play(line: Line, heard: Heard) -> None:
        line.answer(200, "x")
        line.close()

    with serving(play) as server:
        at = bench(tmp_path)
        for _ in range(3):
            at.door.request(server.url)
            threading.Event().wait(0.02)
        assert at.door.retries == {}


def test_the_budgets_refusal_goes_through(tmp_path: Path) -> None:
    """A spent quota stops the source; nothing is asked."""
    with serving(saying(200)) as server:
        at = bench(tmp_path)

        def spent() -> None:
            raise StopSource("the quota of the day is spent", after=3600)

        at.budget.request = spent  # type: ignore[assignment]
        with pytest.raises(StopSource) as caught:
            at.door.request(server.url)
        assert caught.value.after == 3600 and server.heard == []


def test_the_place_in_the_budget_is_held_until_the_body_is_read(tmp_path: Path) -> None:
    """Concurrency means bodies on the wire, not heads."""
    during: list[int] = []

    def play(line: Line, heard: Heard) -> None:
        line.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        threading.Event().wait(0.05)
        during.append(at.budget.at_once)
        line.say("b")

    with serving(play) as server:
        at = bench(tmp_path)
        at.door.request(server.url)
        assert during == [1] and at.budget.at_once == 0


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    """The injected sleep may raise: no further attempt is made."""

    class Stopped(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise Stopped

    with serving(saying(500)) as server:
        at = bench(tmp_path, sleep=sleep)
        with pytest.raises(Stopped):
            at.door.request(server.url)
        assert len(server.heard) == 1


def test_many_threads_share_a_door(tmp_path: Path) -> None:
    """Answers go to whom they belong, every retry is counted, every place is given back."""
    seen: set[str] = set()
    lock = threading.Lock()

    def play(line: Line, heard: Heard) -> None:
        with lock:
            first = heard.target not in seen
            seen.add(heard.target)
        if first and heard.target.endswith(("3", "7")):
            line.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nno")
            line.reset()
        elif first and heard.target.endswith("5"):
            line.answer(500)
        else:
            line.answer(200, heard.target)

    with serving(play) as server:
        at = bench(tmp_path, rules={"attempts": 6})

        def one(number: int) -> tuple[str, int]:
            if number % 2:
                got = at.door.download(f"{server.url}/{number}", max_bytes=100)
                return got.path.read_text(), got.retries
            reply = at.door.request(f"{server.url}/{number}")
            return reply.body.decode(), reply.retries

        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(one, range(200)))
        assert [text for text, _ in answers] == [f"/{number}" for number in range(200)]
        assert sum(at.door.retries.values()) == sum(count for _, count in answers) == 60
        assert at.budget.requests == len(at.budget.outcomes) == 260 and at.budget.at_once == 0


def test_a_scratch_folder_that_is_gone_is_no_missing_item(tmp_path: Path) -> None:
    """`FileNotFoundError` means that the source no longer has it, and nothing else."""
    with serving(saying(200)) as server, pytest.raises(StopSource, match="scratch"):
        bench(tmp_path / "gone").door.download(server.url, max_bytes=10)
