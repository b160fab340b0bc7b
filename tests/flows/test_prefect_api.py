"""What is found out about a Prefect API without importing Prefect."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penstock.flows import prefect_api
from tests.flows.prefect_server import free_port


@contextmanager
def serving(version: object, health: int = 200) -> Iterator[str]:
    """An API that says it is of this version, or, asked for None, nothing that can be read."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.endswith("/health") or (self.path.endswith("/admin/version") and version is not None)
            body = json.dumps(version).encode() if known else b"<html>"
            self.send_response(health if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("theirs", "recorded", "words"),
    [
        ("3.8.8", True, ""),
        ("3.8.1", True, ""),
        ("3.7.2", True, "older"),
        ("3.10.0", True, "newer"),
        ("2.20.1", False, "nothing is recorded"),
        ("4.0.0", False, "nothing is recorded"),
        ("", True, ""),
        ({"version": "?"}, True, ""),
        (None, True, ""),
    ],
)
def test_a_server_of_another_version_is_said_once(
    theirs: object, recorded: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another minor version is a warning; another major one is not talked to; an answer that says nothing is let be."""
    monkeypatch.setattr(prefect_api, "_ours", lambda: "3.8.8")
    said: list[str] = []
    with serving(theirs) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert prefect_api.answers(said.append) is recorded
    assert len(said) == bool(words)
    assert words in " ".join(said)


def test_what_is_no_prefect_is_told_from_one_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it would wait for ever."""
    with serving("3.8.8") as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert prefect_api.wrong_place() is None
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert prefect_api.wrong_place() is None
    for status, why in ((404, "status 404"), (301, "status 301"), (401, None), (503, None)):
        with serving("3.8.8", status) as url:
            monkeypatch.setenv("PREFECT_API_URL", url)
            assert prefect_api.wrong_place() == why
    for where in ("ftp://x", "x", "http://[::1"):
        monkeypatch.setenv("PREFECT_API_URL", where)
        assert "http://" in (prefect_api.wrong_place() or "")


def test_a_url_is_shown_without_its_secrets() -> None:
    """Some have a password in it."""
    assert prefect_api.shown("https://me:hush@host:1/api?key=hush#hush") == "https://host:1/api"
    assert "hush" not in prefect_api.shown("http://me:hush@[::1/api")


def test_a_server_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again and again, with longer pauses, until it answers, the time is up, or somebody wants to go."""
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    now, pauses = [0.0], list[float]()

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        now[0] += seconds
        return False

    assert not prefect_api.until_there(wait, 20.0, lambda: now[0])
    assert now[0] == pytest.approx(20.0) and pauses[:2] == [0.5, 0.75] and max(pauses) == 5.0
    assert not prefect_api.until_there(lambda seconds: True, 20.0, lambda: now[0])
    with serving("3.8.8") as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert prefect_api.until_there(lambda seconds: pytest.fail("it is there"), 20.0, lambda: now[0])


def test_one_that_is_there_and_unwell_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy without a server behind it is no server."""
    with serving("3.8.8", health=502) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        assert not prefect_api.there()
