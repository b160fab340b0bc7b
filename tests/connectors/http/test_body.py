"""Bodies: bounded while they come, unpacked with a limit, checked against length and digest."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from pathlib import Path

import pytest

from penstock.connectors.types import RejectItem, RetryLater
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, Play, in_turn, raw, saying, serving

HEAD = "HTTP/1.1 200 OK\r\n"


def packed(body: bytes, **headers: str) -> Play:
    return saying(200, body, Content_Encoding="gzip", **headers)


def reason(scratch: Path, play: Play, **rules: object) -> str:
    """How a request for this answer fails in the end."""
    with serving(play) as server:
        at = bench(scratch, rules={"attempts": 2, **rules})
        with pytest.raises((RetryLater, RejectItem)) as caught:
            at.door.request(server.url)
        return str(caught.value.reason)


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    """In one member or several, and an empty body that claims to be gzip is empty."""
    text = b"some text " * 5000
    with serving(
        in_turn(packed(gzip.compress(text)), packed(gzip.compress(b"a") + gzip.compress(b"b")), packed(b""))
    ) as s:
        door = bench(tmp_path).door
        assert [door.request(s.url).body for _ in range(3)] == [text, b"ab", b""]


def test_a_gzip_bomb_is_stopped_early(tmp_path: Path) -> None:
    """Some kilobytes that unpack to many megabytes: no more than the first few are unpacked."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    assert reason(tmp_path, packed(data)) == "garbled"


def test_a_small_page_may_be_packed_well(tmp_path: Path) -> None:
    """The ratio counts beyond the first MiB only."""
    with serving(packed(gzip.compress(bytes(900_000)))) as server:
        assert len(bench(tmp_path).door.request(server.url).body) == 900_000


def test_the_limit_is_for_what_was_unpacked(tmp_path: Path) -> None:
    """A body that is small on the wire and large in memory is too large."""
    assert reason(tmp_path, packed(gzip.compress(bytes(range(256)) * 400)), max_page_bytes=100_000) == "too_large"


def test_a_body_announced_as_too_large_is_not_read(tmp_path: Path) -> None:
    """The length in the head is enough."""
    assert (
        reason(tmp_path, raw(HEAD + "Content-Length: 1000001\r\n\r\n", then="hang"), max_page_bytes=10**6)
        == "too_large"
    )


def test_a_body_without_end_is_cut_at_the_limit(tmp_path: Path) -> None:
    """Chunked, or until the connection closes: it stops being read at the limit."""

    def endless(line: Line, heard: Heard) -> None:
        line.say(HEAD + "Transfer-Encoding: chunked\r\n\r\n")
        while True:
            line.say(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    assert reason(tmp_path, endless, max_page_bytes=10**6) == "too_large"


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "compress", "x" * 5000])
def test_an_encoding_that_was_not_asked_for_is_garbled(tmp_path: Path, encoding: str) -> None:
    """Nothing is guessed."""
    assert reason(tmp_path, saying(200, "body", Content_Encoding=encoding)) == "garbled"


@pytest.mark.parametrize(
    "body", [b"not gzip", b"\x1f\x8b\x08", gzip.compress(b"a", mtime=0)[:-3], gzip.compress(b"a", mtime=0) + b"tail"]
)
def test_gzip_that_is_broken_is_garbled_or_truncated(tmp_path: Path, body: bytes) -> None:
    """Never half a body."""
    assert reason(tmp_path, packed(body)) in ("garbled", "truncated")


def test_a_body_shorter_than_announced_is_truncated(tmp_path: Path) -> None:
    """By its length, or by a last chunk that never comes."""
    assert reason(tmp_path, raw(HEAD + "Content-Length: 10\r\n\r\nabc")) == "truncated"
    assert reason(tmp_path, raw(HEAD + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")) == "truncated"


def test_bytes_beyond_the_length_are_not_the_next_answer(tmp_path: Path) -> None:
    """What follows a body on the same connection is not taken for the answer to another request."""
    smuggled = HEAD + "Content-Length: 2\r\n\r\nok" + HEAD + "Content-Length: 4\r\n\r\nevil"
    with serving(lambda line, heard: line.say(smuggled)) as server:
        door = bench(tmp_path).door
        assert [door.request(server.url).body for _ in range(3)] == [b"ok"] * 3
        assert server.connections == 3


@pytest.mark.parametrize(
    "head",
    [
        "nonsense\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: magic\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + "X: " + "y" * 300_000 + "\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 50_000 + "\r\n",
        "x" * 300_000,
    ],
)
def test_what_is_no_http_is_garbled(tmp_path: Path, head: str) -> None:
    """Also heads larger than 100 KiB."""
    assert reason(tmp_path, raw(head)) == "garbled"


def sha(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content_Digest", "sha-256=:{sha}:"),
        ("Repr_Digest", "unixsum=:MTIz:, sha-256=:{sha}:"),
        ("Digest", "SHA-256={sha},MD5={md5}"),
        ("Digest", "md5={md5}"),
        ("Content_MD5", "{md5}"),
    ],
)
def test_a_digest_is_checked(tmp_path: Path, name: str, value: str) -> None:
    """The right one passes; a byte that differs is garbled, tried again, and heals."""
    header = {name: value.format(sha=sha(b"the body"), md5=md5(b"the body"))}
    with serving(in_turn(saying(200, "the bodY", **header), saying(200, "the body", **header))) as server:
        at = bench(tmp_path)
        reply = at.door.request(server.url)
        assert reply.body == b"the body" and at.door.retries == {"garbled": 1}
        assert at.verdicts() == ["ok", "ok"], "one bad body is no reason to stop asking"


def test_digests_are_of_what_was_sent(tmp_path: Path) -> None:
    """With gzip they are of the packed bytes."""
    body = gzip.compress(b"text")
    with serving(packed(body, Content_Digest=f"sha-256=:{sha(body)}:")) as server:
        assert bench(tmp_path).door.request(server.url).body == b"text"


@pytest.mark.parametrize(
    "value", ["sha-256=:short:", "sha-256", "sha-512=:AAAA:", "=:x:", "sha-256=:" + "A" * 43 + ":", ","]
)
def test_a_digest_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, value: str) -> None:
    """Other algorithms, broken base64, a wrong size."""
    with serving(saying(200, "x", Content_Digest=value, Content_MD5=value, Digest=value)) as server:
        assert bench(tmp_path).door.request(server.url).body == b"x"
