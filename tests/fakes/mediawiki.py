"""A wiki behind an api.php that answers as MediaWiki 1.39 does, on loopback.

    with FakeWiki() as wiki:
        wiki.edit("Main Page", "text")      # likewise move, delete, restore, import_page, redirect, touch, protect
        wiki.fail("maxlag", times=2)        # an error inside a 200

`url` is the address of its api.php. Its clock, `now`, moves by one second with each change and not by itself. What is
imported stands in no list of recent changes; what is deleted is gone from there; moves and deletions are logged.
Lists are continued; of a batch of pages, `revisions_at_once` get their revisions in one answer, and the rest follow.
"""

from __future__ import annotations

import contextlib
import html
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NAMESPACES = {0: "", 1: "Talk", 2: "User", 10: "Template", 14: "Category"}


@dataclass
class WikiPage:
    number: int
    ns: int
    title: str
    text: str = ""
    revision: int = 0
    stamp: int = 0
    touched: int = 0
    redirect: bool = False
    categories: list[str] = field(default_factory=list)


class ApiFailure(Exception):
    def __init__(self, code: str, info: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.code, self.info, self.headers = code, info or f"The wiki says {code}.", headers or {}


class FakeWiki:
    """`token`: a bearer token that reading needs, None for a public wiki. `limit`: the most that a list gives."""

    def __init__(self, *, token: str | None = None, limit: int = 500) -> None:
        self.token, self.limit = token, limit
        self.now = 1_700_000_000
        self.version = "MediaWiki 1.39.7"
        self.revisions_at_once = 5
        self.requests: list[dict[str, str]] = []
        self.bot: tuple[str, str] | None = None
        """Name and password of a bot that may log in."""
        self.sessions: dict[str, bool] = {}
        """Session cookies, and whether somebody is logged in with them."""
        self.gone = False
        self.prefix_of_answers = ""
        self.warnings: dict[str, Any] = {}
        self.unreadable: dict[int, str] = {}
        self._pages: dict[int, WikiPage] = {}
        self._titles: dict[str, WikiPage] = {}
        self._deleted: list[WikiPage] = []
        self._changes: list[dict[str, Any]] = []
        self._log: list[dict[str, Any]] = []
        self._failures: deque[tuple[str, str, int, dict[str, str]]] = deque()
        self._numbers = self._revisions = self._entries = 0
        self._lock = threading.RLock()
        self._port = 0
        self._server: _Server | None = None

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────

    def edit(self, title: str, text: str, *, categories: list[str] | None = None, redirect: bool = False) -> WikiPage:
        with self._lock:
            page = self._by_title(title)
            new = page is None
            page = page or self._new(title)
            self._revise(page, text)
            page.redirect = redirect
            page.categories = page.categories if categories is None else categories
            self._changed("new" if new else "edit", page.ns, page.title, page.number, page.revision)
            return page

    def redirect(self, title: str, target: str) -> WikiPage:
        return self.edit(title, f"#REDIRECT [[{target}]]", redirect=True)

    def move(self, old: str, new: str, *, leave: bool = True) -> WikiPage:
        """The page keeps its number and gets a revision; `leave` a redirect, with a number of its own, unlogged."""
        with self._lock:
            page = self.page(old)
            page.ns, page.title = namespace_of(new), new
            self._titles[new] = self._titles.pop(old)
            self._revise(page, page.text)
            if leave:
                left = self._new(old)
                self._revise(left, f"#REDIRECT [[{new}]]")
                left.redirect = True
            ns = namespace_of(old)
            self._logged("move", "move", ns, old, page.number, target_ns=page.ns, target_title=new)
            self._changed("log", ns, old, page.number, page.revision, logtype="move", logaction="move")
            return page

    def delete(self, title: str) -> None:
        with self._lock:
            page = self.page(title)
            del self._pages[page.number], self._titles[title]
            self._deleted.append(page)
            self._changes = [each for each in self._changes if each["pageid"] != page.number or each["type"] == "log"]
            self.now += 1
            self._logged("delete", "delete", page.ns, page.title, page.number)
            self._changed("log", page.ns, page.title, 0, 0, logtype="delete", logaction="delete")

    def restore(self, title: str) -> WikiPage:
        """The newest deleted page of that title, with its old number."""
        with self._lock:
            page = next(each for each in reversed(self._deleted) if each.title == title)
            self._deleted.remove(page)
            self._pages[page.number] = self._titles[title] = page
            self.now += 1
            page.touched = self.now
            self._logged("delete", "restore", page.ns, page.title, 0)
            self._changed("log", page.ns, page.title, page.number, 0, logtype="delete", logaction="restore")
            return page

    def import_page(self, title: str, text: str, *, logged: bool = False) -> WikiPage:
        """No recent change, ever; a log entry when it was done on Special:Import and not by a script."""
        with self._lock:
            page = self._by_title(title) or self._new(title)
            self._revise(page, text)
            if logged:
                self._logged("import", "upload", page.ns, page.title, page.number)
            return page

    def protect(self, title: str) -> None:
        """A revision without an edit."""
        with self._lock:
            page = self.page(title)
            self._revise(page, page.text)
            self._logged("protect", "protect", page.ns, page.title, page.number)
            self._changed("log", page.ns, page.title, page.number, 0, logtype="protect", logaction="protect")

    def touch(self, title: str) -> None:
        """A template that the page uses was edited."""
        with self._lock:
            self.now += 1
            self.page(title).touched = self.now

    def forget(self, seconds: int) -> None:
        """Time goes by, and the recent changes before that are forgotten."""
        with self._lock:
            self._changes = []
            self.now += seconds

    def page(self, title: str) -> WikiPage:
        found = self._by_title(title)
        assert found is not None, f"no page {title!r}"
        return found

    def fail(self, code: str, *, times: int = 1, only: str = "", headers: dict[str, str] | None = None) -> None:
        """The next `times` answers to questions with a parameter whose value holds `only` are this error."""
        self._failures.append((code, only, times, headers or {}))

    def succeed(self) -> None:
        self._failures.clear()

    # ── api.php ──────────────────────────────────────────────────────────────────────────────────────────

    def answer(
        self, asked: dict[str, str], authorization: str, cookie: str = ""
    ) -> tuple[dict[str, Any], dict[str, str]]:
        with self._lock:
            self.requests.append(asked)
            session = next((part[8:] for part in cookie.split("; ") if part.startswith("session=")), "")
            assert (asked.get("format"), asked.get("formatversion")) == ("json", "2")
            try:
                self._failing(asked)
                if asked["action"] == "login" or asked.get("meta") == "tokens":
                    return self._login(asked, session)
                self._known(asked, authorization, self.sessions.get(session, False))
                made = {"query": self._query, "parse": self._parse}[asked["action"]](asked)
            except ApiFailure as failure:
                return {"error": {"code": failure.code, "info": failure.info, "docref": "See…"}}, failure.headers
            if "curtimestamp" in asked:
                made["curtimestamp"] = written(self.now)
            if self.warnings:
                made["warnings"] = self.warnings
            return made, {}

    def _failing(self, asked: dict[str, str]) -> None:
        for at, (code, only, times, headers) in enumerate(self._failures):
            if times and any(only in value for value in [*asked, *asked.values()]):
                self._failures[at] = (code, only, times - 1, headers)
                raise ApiFailure(code, headers=headers)

    def _login(self, asked: dict[str, str], session: str) -> tuple[dict[str, Any], dict[str, str]]:
        """A token belongs to the session that asked for it; logging in gives another session."""
        fresh = f"s{self._next()}%21"
        if asked["action"] == "query":
            self.sessions[fresh] = False
            cookie = f"session={fresh}; expires=Thu, 21-Nov-2030 08:00:00 GMT; path=/; HttpOnly"
            return {"batchcomplete": True, "query": {"tokens": {"logintoken": f"{fresh}+\\"}}}, {"Set-Cookie": cookie}
        if session not in self.sessions or asked["lgtoken"] != f"{session}+\\":
            return {"login": {"result": "WrongToken"}}, {}
        del self.sessions[session]
        if (asked["lgname"], asked["lgpassword"]) != self.bot:
            return {"login": {"result": "Failed", "reason": "Incorrect username or password entered."}}, {}
        self.sessions[fresh] = True
        return {"login": {"result": "Success"}}, {"Set-Cookie": f"session={fresh}; path=/, UserID=deleted"}

    def _known(self, asked: dict[str, str], authorization: str, logged_in: bool) -> None:
        if authorization and authorization != f"Bearer {self.token}":
            raise ApiFailure("mwoauth-invalid-authorization", "The authorization headers are not valid")
        if asked.get("assert") == "user" and not authorization and not logged_in:
            raise ApiFailure("assertuserfailed")
        if (self.token or self.bot) and not authorization and not logged_in:
            raise ApiFailure("readapidenied", "You need read permission to use this module.")

    def _query(self, asked: dict[str, str]) -> dict[str, Any]:
        if asked.get("meta") == "siteinfo":
            return {"batchcomplete": True, "query": self._siteinfo()}
        if asked.get("list") == "recentchanges":
            types = asked.get("rctype", "edit|new|log").split("|")
            entries = [each for each in self._changes if each["type"] in types]
            return self._listed("recentchanges", "rc", entries, asked)
        if asked.get("list") == "logevents":
            entries = [each for each in self._log if each["type"] == asked.get("letype", each["type"])]
            return self._listed("logevents", "le", entries, asked)
        return self._pages_asked(asked)

    def _siteinfo(self) -> dict[str, Any]:
        parts = urlsplit(self.url)
        general = {
            "sitename": "Fake",
            "generator": self.version,
            "wikiid": "fakewiki",
            "server": f"//{parts.netloc}",
            "articlepath": "/wiki/$1",
        }
        return {
            "general": general,
            "namespaces": {str(ns): {"id": ns, "name": name} for ns, name in NAMESPACES.items()},
        }

    def _listed(self, name: str, short: str, entries: list[dict[str, Any]], asked: dict[str, str]) -> dict[str, Any]:
        assert asked[f"{short}dir"] == "newer"
        start = asked.get(f"{short}start", "")
        found = [each for each in entries if each["timestamp"] >= start]
        key = "rcid" if short == "rc" else "logid"
        after = asked.get(f"{short}continue")
        if after is not None:
            if after.count("|") != 1:
                raise ApiFailure("badcontinue")
            found = [each for each in found if each[key] >= int(after.split("|")[1])]
        limit = self._limit(asked[f"{short}limit"])
        made: dict[str, Any] = {"query": {name: found[:limit]}}
        if len(found) > limit:
            place = f"{found[limit]['timestamp'].translate(str.maketrans('', '', '-:TZ'))}|{found[limit][key]}"
            return {"continue": {f"{short}continue": place, "continue": "-||"}, **made}
        return {"batchcomplete": True, **made}

    def _pages_asked(self, asked: dict[str, str]) -> dict[str, Any]:
        """Pages of a generator, or by number or title, with the facts of `prop`."""
        on: dict[str, str] | None = None
        missing: list[dict[str, Any]] = []
        if asked.get("generator") == "allpages":
            found, on = self._allpages(asked)
        elif "pageids" in asked:
            numbers = [int(each) for each in asked["pageids"].split("|")]
            self._few(numbers)
            found = [self._pages[each] for each in numbers if each in self._pages]
            missing = [{"pageid": each, "missing": True} for each in numbers if each not in self._pages]
        else:
            titles = asked["titles"].split("|")
            self._few(titles)
            found = [page for page in map(self._by_title, titles) if page]
            there = {page.title for page in found}
            missing = [{"ns": namespace_of(t), "title": t, "missing": True} for t in titles if t not in there]
        facts, later = self._facts(found, asked)
        if later is not None:
            same = {"gapcontinue": asked["gapcontinue"]} if "gapcontinue" in asked else {}
            return {
                "continue": {"rvcontinue": later, **same, "continue": "||info"},
                "query": {"pages": facts + missing},
            }
        made: dict[str, Any] = {"query": {"pages": facts + missing}} if facts or missing else {}
        return {"batchcomplete": True, **({"continue": on} if on else {}), **made}

    def _allpages(self, asked: dict[str, str]) -> tuple[list[WikiPage], dict[str, str] | None]:
        wanted = [page for page in self._pages.values() if page.ns == int(asked["gapnamespace"])]
        if asked.get("gapfilterredir") == "nonredirects":
            wanted = [page for page in wanted if not page.redirect]
        wanted = sorted((page for page in wanted if page.title >= asked.get("gapcontinue", "")), key=lambda p: p.title)
        limit = self._limit(asked["gaplimit"])
        more = {"gapcontinue": wanted[limit].title, "continue": "gapcontinue||"} if len(wanted) > limit else None
        return wanted[:limit], more

    def _facts(self, pages: list[WikiPage], asked: dict[str, str]) -> tuple[list[dict[str, Any]], str | None]:
        """The first answer has all pages with their `info`, and revisions of some; the next have the rest of those."""
        first, props = "rvcontinue" not in asked, asked["prop"].split("|")
        begin = 0 if first else [page.number for page in pages].index(int(asked["rvcontinue"].split("|")[0]))
        end = begin + self.revisions_at_once if "revisions" in props else len(pages)
        made = []
        for at, page in enumerate(pages):
            fact: dict[str, Any] = {"pageid": page.number, "ns": page.ns, "title": page.title}
            if first and "info" in props:
                fact |= {
                    "lastrevid": page.revision,
                    "touched": written(page.touched),
                    "length": len(page.text.encode()),
                }
                fact |= {"redirect": True} if page.redirect else {}
            if first and "categories" in props and page.categories:
                fact["categories"] = [{"ns": 14, "title": f"Category:{each}"} for each in page.categories]
            if "revisions" in props and begin <= at < end:
                fact["revisions"] = [self._revision(page, asked)]
            made.append(fact)
        return made, f"{pages[end].number}|{pages[end].revision}" if end < len(pages) else None

    def _revision(self, page: WikiPage, asked: dict[str, str]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "revid": page.revision,
            "parentid": 0,
            "timestamp": written(page.stamp),
            "size": len(page.text.encode()),
        }
        if "content" in asked["rvprop"]:
            main = {"contentmodel": "wikitext", "contentformat": "text/x-wiki", "content": page.text}
            made["slots"] = {"main": main if page.number not in self.unreadable else {"texthidden": True}}
        return made

    def _parse(self, asked: dict[str, str]) -> dict[str, Any]:
        page = self._pages.get(int(asked["pageid"]))
        if page is None:
            raise ApiFailure("nosuchpageid", f"There is no page with ID {asked['pageid']}.")
        if page.number in self.unreadable:
            raise ApiFailure(self.unreadable[page.number])
        self._entries += 1
        report = "" if "disablelimitreport" in asked else "<!-- NewPP limit report -->"
        saved = f"<!-- Saved in parser cache with key fakewiki:{page.number} and timestamp {self._entries} -->"
        text = f'<div class="mw-parser-output"><p>{html.escape(page.text)}\n</p>{report}\n{saved}\n</div>'
        categories = [{"sortkey": "", "category": each.replace(" ", "_")} for each in page.categories]
        categories.append({"sortkey": "", "category": "Pages_with_errors", "hidden": True})
        parsed = {"title": page.title, "pageid": page.number, "revid": page.revision, "text": text}
        return {"parse": {**parsed, "categories": categories}}

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────

    def _limit(self, asked: str) -> int:
        return self.limit if asked == "max" else min(int(asked), self.limit)

    def _few(self, values: list[Any]) -> None:
        if len(values) > 50:
            raise ApiFailure("toomanyvalues", "Too many values supplied. The limit is 50.")

    def _by_title(self, title: str) -> WikiPage | None:
        return self._titles.get(title)

    def _new(self, title: str) -> WikiPage:
        self._numbers += 1
        page = WikiPage(self._numbers, namespace_of(title), title)
        self._pages[page.number] = self._titles[title] = page
        return page

    def _revise(self, page: WikiPage, text: str) -> None:
        self.now += 1
        self._revisions += 1
        page.text, page.revision, page.stamp, page.touched = text, self._revisions, self.now, self.now

    def _changed(self, kind: str, ns: int, title: str, number: int, revision: int, **more: Any) -> None:
        entry = {"type": kind, "ns": ns, "title": title, "pageid": number, "revid": revision, "rcid": self._next()}
        self._changes.append({**entry, "timestamp": written(self.now), **more})

    def _logged(self, kind: str, action: str, ns: int, title: str, logpage: int, **params: Any) -> None:
        there = self._by_title(title)
        event = {"logid": self._next(), "ns": ns, "title": title, "pageid": there.number if there else 0}
        event |= {"logpage": logpage, "params": params, "type": kind, "action": action}
        self._log.append({**event, "timestamp": written(self.now)})

    def _next(self) -> int:
        self._entries += 1
        return self._entries

    # ── the server ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/w/api.php"

    def up(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), self)
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and cut those that there are."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()
            server.cut()

    def __enter__(self) -> FakeWiki:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


def namespace_of(title: str) -> int:
    before, colon, _ = title.partition(":")
    return next((ns for ns, name in NAMESPACES.items() if colon and name == before), 0)


def written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], wiki: FakeWiki) -> None:
        self.wiki = wiki
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def _answer(self, query: str) -> None:
        wiki = self.server.wiki
        if wiki.gone:
            wiki.requests.append({})
            return self._send(404, b"Not Found", {"Content-Type": "text/plain"})
        asked = dict(parse_qsl(query, keep_blank_values=True))
        answer, headers = wiki.answer(asked, self.headers.get("Authorization", ""), self.headers.get("Cookie", ""))
        body = wiki.prefix_of_answers + json.dumps(answer)
        return self._send(200, body.encode(), {"Content-Type": "application/json; charset=utf-8", **headers})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
