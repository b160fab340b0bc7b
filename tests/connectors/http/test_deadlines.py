"""Every way to take forever ends in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from penstock.connectors.types import RetryLater
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, Play, raw, saying, serving

HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
SHORT = {"attempts": 1, "connect_seconds": 0.2, "read_seconds": 0.2, "total_seconds": 0.6}


def outcome(scratch: Path, play: Play, *, download: bool = False, **rules: object) -> tuple[str, str, float]:
    """(reason, counted as, seconds) of a request that ends in a time-out."""
    with serving(play) as server:
        at = bench(scratch, rules={**SHORT, "attempts": 2, **rules})
        began = time.monotonic()
        with pytest.raises(RetryLater) as caught:
            if download:
                at.door.download(server.url, max_bytes=10**6)
            else:
                at.door.request(server.url)
        assert set(at.verdicts()) == {"failed"} and at.leftovers() == []
        return str(caught.value.reason), next(iter(at.door.retries)), (time.monotonic() - began) / 2


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """Ends after the read limit."""
    why, counted, seconds = outcome(tmp_path, raw("", then="hang"), total_seconds=30)
    assert (why, counted) == ("timed_out", "timeout") and seconds < 15


@pytest.mark.parametrize("start", ["", "HTTP/1.1 200 OK\r\nX: "])
def test_a_head_that_drips(tmp_path: Path, start: str) -> None:
    """A byte now and then keeps no connection open: the head has its own deadline."""

    def play(line: Line, heard: Heard) -> None:
        line.say(start)
        line.drip(b"HTTP/1.1 200 OK" + b"x" * 10000, 0.05)

    why, counted, seconds = outcome(tmp_path, play)
    assert (why, counted) == ("timed_out", "timeout") and seconds < 15


def test_interim_answers_without_end(tmp_path: Path) -> None:
    """100 Continue is no progress."""

    def play(line: Line, heard: Heard) -> None:
        line.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.01, piece=25)

    assert outcome(tmp_path, play)[0] == "timed_out"


def test_a_body_that_stops(tmp_path: Path) -> None:
    """Is stalled after the read limit."""
    why, counted, seconds = outcome(tmp_path, raw(HEAD + "abc", then="hang"), total_seconds=30)
    assert (why, counted) == ("timed_out", "stalled") and seconds < 15


@pytest.mark.parametrize("download", [False, True])
def test_a_body_that_drips(tmp_path: Path, download: bool) -> None:
    """A byte every few milliseconds is slower than anybody's line: stalled, long before the deadline."""

    def play(line: Line, heard: Heard) -> None:
        line.say(HEAD)
        line.drip(b"x" * 10000, 0.02)

    why, counted, seconds = outcome(tmp_path, play, download=download, total_seconds=30)
    assert (why, counted) == ("timed_out", "stalled") and seconds < 15


def test_chunks_that_drip_without_a_body(tmp_path: Path) -> None:
    """Chunk extensions are not content, and are watched all the same."""

    def play(line: Line, heard: Heard) -> None:
        line.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
        line.drip(b"e" * 10000, 0.02)

    assert outcome(tmp_path, play, download=True, total_seconds=30)[1] == "stalled"


def test_an_answer_has_a_total(tmp_path: Path) -> None:
    """Fast enough at any moment, and never done."""

    def play(line: Line, heard: Heard) -> None:
        line.say(HEAD)
        line.drip(b"x" * 1_000_000, 0.02, piece=200)

    why, counted, seconds = outcome(tmp_path, play)
    assert (why, counted) == ("timed_out", "timeout") and seconds < 15


def test_a_download_has_the_time_that_its_size_needs(tmp_path: Path) -> None:
    """Slow and steady above the limit of speed: it may take longer than a page."""

    def play(line: Line, heard: Heard) -> None:
        line.say("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        line.drip(b"x" * 9000, 0.02, piece=200)

    with serving(play) as server:
        done = bench(tmp_path, rules={**SHORT, "read_seconds": 1.0, "total_seconds": 0.4}).door.download(
            server.url, max_bytes=10000
        )
        assert done.size == 9000


def test_a_deadline_of_one_request_is_not_the_next_ones(tmp_path: Path) -> None:
    """Connections are used again; deadlines are not."""
    with serving(saying(200, "x")) as server:
        at = bench(tmp_path, rules={**SHORT, "read_seconds": 1.0, "total_seconds": 0.6})
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            at.door.request(server.url)
            time.sleep(0.05)
        assert server.connections == 1 and at.door.retries == {}
