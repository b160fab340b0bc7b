"""A small JSON API on loopback: five ways of paging, details, files, tokens, and a hook that spoils any answer."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit


@dataclass
class Asked:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class Answer:
    """`body` is sent as JSON unless it is bytes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class JsonApi:
    """`rows` by id, in the order of listing. Everything may be changed between requests.

    `/STYLE/items` lists (page, offset, cursor, next, link, none; `updated_since` in seconds filters), `/items/ID` is
    a detail, `/files/NAME` a file, `/token` grants OAuth2 tokens. `hook` sees each request first and may answer it.
    `allowed`: the values of `Authorization` that are let in; None: anybody.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.hook: Callable[[Asked], Answer | None] = lambda asked: None
        self.allowed: set[str] | None = None
        self.size = 100
        self.url = ""
        self.granted = 0
        self.lock = threading.RLock()

    def answer(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            said = self.hook(asked)
            if said is not None:
                return said
            if asked.path == "/token":
                return self.grant(asked)
            if self.allowed is not None and asked.headers.get("authorization", "") not in self.allowed:
                return Answer({"error": "who are you?"}, 401)
            kind, _, name = asked.path.strip("/").partition("/")
            if name == "items":
                return self.listed(kind, asked.query)
            if kind == "items" and name in self.rows:
                return Answer({"item": self.rows[name]})
            if kind == "files" and name in self.files:
                return Answer(self.files[name])
            return Answer({"error": "not found"}, 404)

    def grant(self, asked: Asked) -> Answer:
        self.granted += 1
        fresh = f"granted-{self.granted}-token"
        self.allowed = {f"Bearer {fresh}"}
        return Answer({"access_token": fresh, "expires_in": 3600})

    def listed(self, style: str, query: dict[str, str]) -> Answer:
        rows = [row for row in self.rows.values() if row.get("at", 0) >= float(query.get("updated_since", 0))]
        size = min(self.size, int(query.get("per_page", query.get("limit", self.size))))
        match style:
            case "page":
                start = (int(query.get("page", 1)) - 1) * size
                return Answer({"items": rows[start : start + size], "total": len(rows)})
            case "offset":
                start = int(query.get("offset", 0))
                return Answer({"items": rows[start : start + size], "total": len(rows)})
            case "none":
                return Answer(rows)
        start = int(query.get("after", 0))
        here, more = rows[start : start + size], start + size < len(rows)
        there = urlencode({**query, "after": start + size})
        if style == "cursor":
            return Answer({"items": here, "next": {"after": str(start + size)} if more else None, "more": more})
        if style == "next":
            return Answer({"items": here, "next": f"/next/items?{there}" if more else None})
        links = '<?first>; rel="first"; title="a, b"' + (f", <?{there}>; rel=next" if more else "")
        return Answer(here, headers={"Link": links})

    @contextmanager
    def serving(self) -> Iterator[JsonApi]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _handler(api: JsonApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self.serve({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.serve(dict(parse_qsl(body.decode())))

        def serve(self, form: dict[str, str]) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = api.answer(Asked(self.command, unquote(parts.path), query, headers, form))
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response_only(said.status)
            if "Date" not in said.headers:
                self.send_header("Date", self.date_time_string())
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
