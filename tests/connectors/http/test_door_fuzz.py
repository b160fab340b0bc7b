"""Whatever comes over the wire, it ends: with an answer or with one of our errors, in time, within the limits."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.http.types import Reply
from penstock.connectors.types import SourceError
from tests.connectors.http.doors import Bench, bench
from tests.fakes.http_faults import FaultServer, Heard, Line, serving

LIMIT = 200_000
OURS = (SourceError, FileNotFoundError)

words = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200\r\n",
        b"HTTP/1.1 206 Partial\r\n",
        b"HTTP/1.1 304 No\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 401 No\r\n",
        b"HTTP/1.1 429 Slow\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\n\r\n",
        b"Location: /next\r\n",
        b"Location: //\xff\xfe@[::1]:0/%zz\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br\r\n",
        b"Retry-After: 1\r\n",
        b"Retry-After: \xff,,\r\n",
        b"Content-Digest: sha-256=:AAAA:\r\n",
        b"Content-Range: bytes 0-4/5\r\n",
        b'ETag: "x"\r\n',
        b"Last-Modified: Mon, 99 Foo 99999\r\n",
        b"Date: 0\r\n",
        b"Set-Cookie: a=b\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        b"hello",
        b"\x00",
    ]
)
pieces = st.lists(st.one_of(words, words, st.binary(max_size=40)), max_size=14)


class Saying:
    """A play whose words are changed between requests."""

    pieces: tuple[bytes, ...] = ()

    def __call__(self, line: Line, heard: Heard) -> None:
        for piece in self.pieces:
            line.say(piece)
        line.close()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with serving(Saying()) as made:
        yield made


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = bench(tmp_path_factory.mktemp("scratch"), rules={"max_page_bytes": LIMIT, "attempts": 2})
    yield made
    made.door.close()


def ends_well(at: Bench, url: str) -> None:
    began = time.monotonic()
    try:
        reply = at.door.request(url, headers={"If-None-Match": '"x"'}, accept_statuses=(304,))
        assert isinstance(reply, Reply) and len(reply.body) <= LIMIT
        reply.json()
    except OURS:
        pass
    try:
        done = at.door.download(url, max_bytes=LIMIT)
        assert done.size == done.path.stat().st_size <= LIMIT
        done.path.unlink()
    except OURS:
        pass
    assert at.leftovers() == [] and at.budget.at_once == 0
    assert time.monotonic() - began < 8


@settings(max_examples=200, deadline=None)
@given(said=pieces)
def test_any_answer_ends_well(at: Bench, server: FaultServer, said: list[bytes]) -> None:
    """Pieces of HTTP in any order, with rubbish between them."""
    server.play.pieces = tuple(said)  # type: ignore[attr-defined]
    ends_well(at, server.url)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_answer_ends_well(at: Bench, server: FaultServer, seed: int) -> None:
    """A good answer with a few bytes changed, lost or doubled."""
    chance = random.Random(seed)
    good = (
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n'
        b'1a\r\n{"items": [1, 2, 3, "abc"]}\r\n0\r\n\r\n'
    )
    for _ in range(10):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place]
                case _:
                    data[place:place] = data[place : place + chance.randrange(20)]
        server.play.pieces = (bytes(data),)  # type: ignore[attr-defined]
        ends_well(at, server.url)
