"""Tokens: whom they go to, and one renewal when they expire, however many threads notice."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.connectors.http.door import HttpDoor
from penstock.connectors.types import RetryLater, StopSource
from tests.connectors.http.doors import bench
from tests.fakes.http_faults import Heard, Line, saying, serving


class Guarded:
    """A play that takes one token at a time."""

    def __init__(self, valid: str) -> None:
        self.valid = valid
        self.uses = 10**9

    def __call__(self, line: Line, heard: Heard) -> None:
        if heard.headers.get("authorization") == f"Bearer {self.valid}":
            line.answer(200, "welcome")
        else:
            line.answer(401, "who?", WWW_Authenticate="Bearer")


def test_an_expired_token_is_renewed_once_by_many_threads(tmp_path: Path) -> None:
    """Sixteen threads get 401 together: one renews, the others wait and go on with what it got."""
    guard = Guarded("new")
    renewals = []

    def renew() -> dict[str, str]:
        renewals.append(threading.get_ident())
        threading.Event().wait(0.05)
        return {"Authorization": "Bearer new"}

    with serving(guard) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer old"}, renew=renew)
        with ThreadPoolExecutor(16) as threads:
            replies = list(threads.map(lambda n: at.door.request(f"{server.url}/{n}"), range(48)))
        assert [reply.body for reply in replies] == [b"welcome"] * 48
        assert len(renewals) == 1
        assert at.door.retries["token"] == sum(reply.retries for reply in replies) <= 16
        assert set(at.door.retries) == {"token"}


def test_a_token_that_expires_again_and_again_is_renewed_each_time(tmp_path: Path) -> None:
    """Each token that was accepted once may expire."""
    guard = Guarded("t1")
    count = iter(range(2, 100))

    def renew() -> dict[str, str]:
        return {"Authorization": f"Bearer {guard.valid}"}

    with serving(guard) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer t0"}, renew=renew)
        for _ in range(5):
            assert at.door.request(server.url).retries == 1
            guard.valid = f"t{next(count)}"


def test_a_token_that_the_connector_renews_in_time_costs_no_401(tmp_path: Path) -> None:
    """`headers` is asked for each request, also after a renewal: what it says anew is sent."""
    guard = Guarded("t1")
    said = ["t0"]

    def renew() -> dict[str, str]:
        said[0] = "t1"
        return {"Authorization": "Bearer t1"}

    with serving(guard) as server:
        headers = lambda: {"Authorization": f"Bearer {said[0]}"}  # noqa: E731
        at = bench(tmp_path, origins=[server.url], headers=headers, renew=renew)
        at.door.request(server.url)
        at.door.request(server.url)
        guard.valid = said[0] = "t2"
        at.door.request(server.url)
        assert at.door.retries == {"token": 1}


def test_a_renewed_token_that_is_refused_too_stops_the_source(tmp_path: Path) -> None:
    """There is nothing that another attempt could change; nobody renews a second time."""
    renewals = []

    def renew() -> dict[str, str]:
        renewals.append(1)
        return {"Authorization": "Bearer wrong-as-well"}

    with serving(Guarded("right")) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer wrong"}, renew=renew)
        with pytest.raises(StopSource, match="401") as caught:
            at.door.request(server.url)
        assert "wrong" not in str(caught.value) and len(renewals) == 1
        with pytest.raises(StopSource):
            at.door.download(server.url, max_bytes=10)
        assert len(renewals) == 1


def test_without_a_renewal_401_stops_the_source(tmp_path: Path) -> None:
    """A static key that is refused is for a person to mend."""
    with serving(Guarded("right")) as server:
        at = bench(tmp_path, origins=[server.url], basic=("me", "password"))
        with pytest.raises(StopSource, match="credentials"):
            at.door.request(server.url)
        assert len(server.heard) == 1


def test_the_renewal_may_use_the_same_door(tmp_path: Path) -> None:
    """The token's own URL on the same origin gets no token, and a 401 from it is no reason to renew."""
    doors: list[HttpDoor] = []

    def play(line: Line, heard: Heard) -> None:
        if heard.target == "/token":
            assert "authorization" not in heard.headers
            line.answer(200, '{"access_token": "new"}')
        else:
            Guarded("new")(line, heard)

    def renew() -> dict[str, str]:
        token = doors[0].request(f"{server.url}/token", method="POST", form={"grant_type": "x"}).json()
        return {"Authorization": "Bearer " + token["access_token"]}

    with serving(play) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer old"}, renew=renew)
        doors.append(at.door)
        assert at.door.request(f"{server.url}/page").body == b"welcome"
        assert server.targets() == ["/page", "/token", "/page"]
        assert at.budget.most_at_once == 1, "no place is held while another one is waited for"


def test_a_refused_renewal_stops_the_source(tmp_path: Path) -> None:
    """401 from the token's own URL ends it at once."""
    doors: list[HttpDoor] = []

    def renew() -> dict[str, str]:
        doors[0].request(f"{server.url}/token", method="POST")
        return {}

    with serving(saying(401)) as server:
        at = bench(tmp_path, origins=[server.url], renew=renew)
        doors.append(at.door)
        with pytest.raises(StopSource):
            at.door.request(server.url)
        assert len(server.heard) == 2


def test_a_401_from_elsewhere_is_that_items_trouble(tmp_path: Path) -> None:
    """A redirect to a store that wants other credentials says nothing about ours."""
    with serving(saying(401)) as other, serving(saying(302, Location=other.url)) as server:
        at = bench(tmp_path, origins=[server.url], basic=("me", "password"))
        with pytest.raises(RetryLater) as caught:
            at.door.download(server.url, max_bytes=10)
        assert caught.value.reason == "forbidden"


def test_basic_credentials_are_sent_in_utf8(tmp_path: Path) -> None:
    """RFC 7617."""
    with serving(saying(200)) as server:
        bench(tmp_path, origins=[server.url], basic=("jürgen", "paß")).door.request(server.url)
        sent = server.heard[0].headers["authorization"].split()[1]
        assert base64.b64decode(sent).decode() == "jürgen:paß"


def test_no_secret_is_in_any_message_or_repr(tmp_path: Path) -> None:
    """A server that puts our token into a redirect, a status line or an error sees it taken out again."""

    def play(line: Line, heard: Heard) -> None:
        said = heard.headers.get("authorization", "")
        if heard.target == "/to":
            line.answer(302, Location=f"http://10.0.0.1/{said.split()[-1]}?token={said.split()[-1]}")
        elif heard.target == "/line":
            line.say(f"HTTP/9 {said}\r\n\r\n")
            line.close()
        else:
            line.answer(500, said)

    with serving(play) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": "Bearer top/secret+token"})
        for path in ("/to", "/line", "/other?token=top/secret+token", "/x/top%2Fsecret%2Btoken"):
            with pytest.raises(RetryLater) as caught:
                at.door.request(server.url + path)
            shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {at.door!r} {at.redactor!r}"
            assert "secret" not in shown, path


def test_not_even_debug_lines_show_an_answers_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A signed URL in a redirect, a cookie: the library below logs heads when everything is logged."""
    caplog.set_level("DEBUG")
    play = saying(404, Set_Cookie="session=topsecret", X_Signed="topsecret")
    with serving(play) as server, pytest.raises(FileNotFoundError):
        bench(tmp_path).door.request(server.url)
    assert "topsecret" not in caplog.text


@pytest.mark.parametrize("token", ["bro\nken", "bro\r\nX-Evil: 1", "zażółć\u2603"])
def test_a_token_that_cannot_be_sent_is_told_and_not_shown(tmp_path: Path, token: str) -> None:
    """A line break at the end of a token is a common mistake: one line says so, without the token."""
    with serving(saying(200)) as server:
        at = bench(tmp_path, origins=[server.url], headers=lambda: {"Authorization": f"Bearer {token}"})
        with pytest.raises(StopSource, match="header") as caught:
            at.door.request(server.url)
        assert token[:3] not in str(caught.value) and caught.value.__cause__ is None
        assert server.heard == []
