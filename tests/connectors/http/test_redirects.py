"""Redirects are followed by hand: what may go along, how far, and where never."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.connectors.types import RetryLater
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, Play, saying, serving


def to(location: str, status: int = 302) -> Play:
    return saying(status, "moved", Location=location)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_its_hop_is_budgeted(tmp_path: Path, status: int) -> None:
    """Each hop takes its own place; the reply says where it came from."""

    def play(line: Line, heard: Heard) -> None:
        if heard.target == "/old":
            line.answer(status, Location="new?x=1#part")
        else:
            line.answer(200, "found")

    with serving(play) as server:
        at = bench(tmp_path)
        reply = at.door.request(f"{server.url}/old")
        assert (reply.body, reply.url, reply.retries) == (b"found", f"{server.url}/new?x=1", 0)
        assert at.verdicts() == ["ok", "ok"]
        assert server.connections == 1, "a small body is read so that the connection can be used again"


def test_credentials_do_not_go_to_another_origin(tmp_path: Path) -> None:
    """Neither the door's headers nor the caller's own ones; a cookie of the caller's stays as well."""
    with serving(saying(200, "elsewhere")) as other, serving(to(f"{other.url}/x")) as server:
        at = bench(
            tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer tok-en", "X-Api-Key": "k-ey"}
        )
        mine = {"X-Secret": "s", "Cookie": "a=b", "Accept": "text/plain"}
        assert at.door.request(server.url, headers=mine).body == b"elsewhere"
        assert server.heard[0].headers["authorization"] == "Bearer tok-en"
        assert server.heard[0].headers["x-secret"] == "s"
        gone = {"authorization", "x-api-key", "x-secret", "cookie"}
        assert gone.isdisjoint(other.heard[0].headers)
        assert other.heard[0].headers["accept"] == "text/plain"


def test_another_port_is_another_origin(tmp_path: Path) -> None:
    """Basic authentication is for scheme, host and port together."""
    with serving(saying(200, "x")) as other, serving(to(f"{other.url}/x")) as server:
        at = bench(tmp_path, origins=[server.url], basic=("user", "password"))
        at.door.request(server.url)
        assert server.heard[0].headers["authorization"].startswith("Basic ")
        assert "authorization" not in other.heard[0].headers


def test_cookies_are_neither_kept_nor_given(tmp_path: Path) -> None:
    """Not across requests, not across redirects, not across hosts; the caller does not see them either."""
    play = saying(200, "x", Set_Cookie="session=abc; Path=/")
    with serving(play) as other, serving(saying(302, Location=other.url, Set_Cookie="a=1")) as server:
        at = bench(tmp_path)
        for _ in range(2):
            reply = at.door.request(server.url)
            at.door.request(other.url)
        assert "set-cookie" not in reply.headers
        assert all("cookie" not in heard.headers for heard in server.heard + other.heard)


def test_a_login_may_see_its_session(tmp_path: Path) -> None:
    """Asked for, and from the source's own origin, Set-Cookie is shown; the values are secrets from then on."""
    play = saying(200, "x", Set_Cookie="session=abcdefgh; Path=/; HttpOnly")
    with serving(play) as other, serving(play) as server:
        at = bench(tmp_path, origins=[server.url])
        assert at.door.request(server.url, cookies=True).headers["set-cookie"].startswith("session=abcdefgh;")
        assert "set-cookie" not in at.door.request(server.url).headers
        assert "set-cookie" not in at.door.request(other.url, cookies=True).headers
        assert at.redactor.clean("got abcdefgh") == "got ***"
        assert all("cookie" not in heard.headers for heard in server.heard)


def test_a_circle_of_redirects_ends(tmp_path: Path) -> None:
    """It is noticed at the first URL that comes again, tried again as a server's error, and given up."""

    def play(line: Line, heard: Heard) -> None:
        line.answer(302, Location="/b" if heard.target == "/a" else "/a")

    with serving(play) as server:
        at = bench(tmp_path)
        with pytest.raises(RetryLater, match="circle") as caught:
            at.door.request(f"{server.url}/a")
        assert caught.value.reason == "server_error"
        assert len(server.heard) == 2 * 3


def test_redirects_without_end_end(tmp_path: Path) -> None:
    """Each to a new URL: `max_redirects` is the limit."""
    with serving(lambda line, heard: line.answer(302, Location=heard.target + "x")) as server:
        at = bench(tmp_path, rules={"max_redirects": 4, "attempts": 1})
        with pytest.raises(RetryLater, match="4 redirects"):
            at.door.request(f"{server.url}/")
        assert len(server.heard) == 5


@pytest.mark.parametrize("location", ["http://[::1", "http://a:99999999/", "ftp://x/", "javascript:1"])
def test_a_redirect_to_nonsense_is_refused(tmp_path: Path, location: str) -> None:
    """What is no http URL is not followed."""
    with serving(to(location)) as server:
        at = bench(tmp_path)
        with pytest.raises(RetryLater) as caught:
            at.door.request(server.url)
        assert caught.value.reason == "refused"


def test_a_redirect_without_a_place_is_garbled(tmp_path: Path) -> None:
    """A 302 that names no location is no answer."""
    with serving(saying(302)) as server, pytest.raises(RetryLater) as caught:
        bench(tmp_path).door.request(server.url)
    assert caught.value.reason == "garbled"


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_post_is_sent_again_only_where_that_is_meant(tmp_path: Path, status: int, method: str) -> None:
    """307 and 308 keep method and body, the others become a GET without one."""

    def play(line: Line, heard: Heard) -> None:
        line.answer(status, Location="/done") if heard.target == "/form" else line.answer(200, "done")

    with serving(play) as server:
        bench(tmp_path).door.request(f"{server.url}/form", method="POST", json={"a": 1})
        assert server.heard[1].method == method
        assert server.heard[1].body == (b'{"a":1}' if method == "POST" else b"")
        assert ("content-type" in server.heard[1].headers) == (method == "POST")


def test_a_body_does_not_go_to_another_origin(tmp_path: Path) -> None:
    """What was posted may be a secret (a password, a client's key)."""
    with serving(saying(200)) as other, serving(to(other.url, 307)) as server:
        with pytest.raises(RetryLater) as caught:
            bench(tmp_path).door.request(server.url, method="POST", form={"password": "hunter22"})
        assert caught.value.reason == "refused" and other.heard == []


@pytest.mark.parametrize("url", ["http://me:secret-word@files.example/a", "file:///etc/passwd", "http://a:b", "a b"])
def test_an_address_that_is_never_asked_concerns_one_item(tmp_path: Path, url: str) -> None:
    """Whoever can attach a file to a document writes such an address: the rest of the source goes on."""
    with pytest.raises(RetryLater) as refused:
        bench(tmp_path).door.download(url, max_bytes=100)
    assert refused.value.reason == "refused" and "secret-word" not in str(refused.value)
