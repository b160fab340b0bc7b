"""Redmine (Debian's redmine, SQLite, thin): issues with journals and attachments, read as the example says."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.proof.real import debian
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, first, outage, silent
from tests.proof.real.daemons import Daemon, free_port
from tests.proof.real.desk import NAME, Desk
from tests.proof.real.example import example
from tests.proof.real.line import Line

PROGRAM = Path("/usr/share/redmine")
SEED = Path(__file__).parent / "seeds" / "redmine.rb"
SETTLED = 3.5
"""Seconds after which a date in whole seconds is trusted."""
ISSUES, MORE = 150, 90


class Redmine:
    """An instance of Debian's package whose files are all in `folder`."""

    def __init__(self, folder: Path) -> None:
        for name in ("config", "files", "log", "tmp", "public"):
            (folder / name).mkdir(parents=True)
        self._folder = folder
        database = (
            f"production:\n  adapter: sqlite3\n  database: {folder}/redmine.db\n  timeout: 10000\n  encoding: utf8\n"
        )
        (folder / "config" / "database.yml").write_text(database)
        (folder / "config" / "secret_key.txt").write_text(secrets.token_hex(40))
        # The package looks for an instance's folder beside its own; it takes any path that leads there.
        self._environ = {
            "REDMINE_INSTANCE": "../" * 12 + str(folder)[1:],
            "RAILS_ENV": "production",
            "REDMINE_LANG": "en",
            "SCHEMA": f"{folder}/schema.rb",
            "HOME": str(folder),
        }
        self._port = free_port()
        self._daemon = Daemon(
            [
                "bundle",
                "exec",
                "rails",
                "server",
                "-u",
                "thin",
                "-b",
                "127.0.0.1",
                "-p",
                str(self._port),
                "-P",
                f"{folder}/pid",
            ],
            self._port,
            folder / "said.log",
            self._environ,
            PROGRAM,
        )
        self.line = Line(self._port)
        self.keys: dict[str, str] = {}
        self.count = 0
        self._rails("rake", "db:migrate")

    def start(self) -> None:
        (self._folder / "pid").unlink(missing_ok=True)
        self._daemon.start()

    def stop(self) -> None:
        self._daemon.stop()

    def fill(self, count: int) -> dict[str, Any]:
        """Make issues. Says what was made."""
        said = self._rails("rails", "runner", str(SEED), str(count), str(self.count))
        self.count += count
        time.sleep(SETTLED)
        told: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        self.keys = {"reader": told["reader"], "boss": told["boss"]}
        return told

    def ask(self, method: str, path: str, body: Any = None, who: str = "boss", kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"X-Redmine-API-Key": self.keys[who], "Content-Type": kind}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = answer.read()
        return json.loads(said) if said.strip() else None

    def listed(self) -> list[dict[str, Any]]:
        """Issues as the reader sees them."""
        found: list[dict[str, Any]] = []
        while True:
            path = f"/issues.json?status_id=*&include=attachments&limit=100&sort=id&offset={len(found)}"
            page = self.ask("GET", path, who="reader")["issues"]
            found += page
            if not page:
                return found

    def uris(self) -> set[str]:
        return {uri for issue in self.listed() for uri in uris_of(issue)}

    def _rails(self, *words: str) -> str:
        ran = subprocess.run(
            ["bundle", "exec", *words],
            cwd=PROGRAM,
            env={**os.environ, **self._environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        if ran.returncode:
            raise RuntimeError(f"{words[0]} failed: {ran.stderr[-600:]}")
        return ran.stdout


def uris_of(issue: dict[str, Any]) -> Iterator[str]:
    yield f"{NAME}/issues/{issue['id']}"
    for each in issue.get("attachments", ()):
        named = quote(f"{each['id']}-{each['filename']}", safe=" ()!,+@=")
        yield f"{NAME}/issues/{issue['id']}/attachments/{named}"


@contextmanager
def running(folder: Path) -> Iterator[Redmine]:
    server = Redmine(folder)
    server.fill(ISSUES)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.line.down()


def prove(folder: Path) -> Checks:
    """All checks. Raises `NotRun`."""
    debian.need("redmine", "redmine-sqlite", "thin")
    checks = Checks("redmine", debian.version("redmine") or "")
    with running(folder / "server") as server:
        desk = Desk(folder / "desk", config(server), {"REDMINE_KEY": server.keys["reader"]})
        first(checks, desk, server)
        hidden = [uri for uri in desk.indexed() if uri.endswith(f"/{10}")]
        private = desk.run("search", "SECRETNOTE", "-k", "500", "--json")
        checks.that(
            "nothing of a hidden project, and no private note, is indexed",
            not hidden and "SECRETNOTE" not in json.dumps(private.account.get("hits", [])),
        )
        touched = edit(server)
        changed(checks, desk, server, "edits, notes, new issues and files, by the feed", touched)
        gone = remove(server)
        changed(checks, desk, server, f"{gone} deletions, by the full listing", 1, "--full")
        outage(checks, desk, server, lambda: len(list(newly(server))), 60)
        wrong = Desk(folder / "wrong", desk.config, {"REDMINE_KEY": "0123456789abcdef0123456789abcdef01234567"})
        ran = wrong.ingest()
        checks.that("a wrong key stops the source with exit 2", ran.code == 2 and "401" in ran.said, ran.brief())
        silent(checks, desk)
    return checks


def config(server: Redmine) -> str:
    return example("redmine", "https://redmine.example.org", f"http://127.0.0.1:{server.line.port}")


def newly(server: Redmine) -> Iterator[str]:
    before = server.uris()
    server.fill(MORE)
    yield from server.uris() - before


def edit(server: Redmine) -> int:
    """Change issues in the ways people do. Returns how many documents are other ones, or new, for the reader."""
    issues = server.listed()
    for issue in issues[:6]:
        server.ask("PUT", f"/issues/{issue['id']}.json", {"issue": {"notes": f"It was the seal of {issue['id']}."}})
    for issue in issues[6:9]:
        server.ask("PUT", f"/issues/{issue['id']}.json", {"issue": {"subject": "Renamed: ölfest", "status_id": 5}})
    new = server.ask("POST", "/issues.json", {"issue": {"project_id": "pumps", "subject": "New", "description": "x"}})
    assert new["issue"]["id"]
    upload = server.ask(
        "POST", "/uploads.json?filename=plan.txt", b"Close the gate first.", kind="application/octet-stream"
    )
    files = [{"token": upload["upload"]["token"], "filename": "plan.txt", "content_type": "text/plain"}]
    server.ask("PUT", f"/issues/{issues[9]['id']}.json", {"issue": {"uploads": files}})
    time.sleep(SETTLED)
    return 6 + 3 + 1 + 2


def remove(server: Redmine) -> int:
    """Delete issues and a file. Returns how many documents are gone."""
    issues = server.listed()
    doomed = [issue for issue in issues if not issue.get("attachments")][:7] + [
        each for each in issues if each.get("attachments")
    ][:1]
    count = sum(len(list(uris_of(issue))) for issue in doomed)
    for issue in doomed:
        server.ask("DELETE", f"/issues/{issue['id']}.json")
    other = next(each for each in issues if each.get("attachments") and each not in doomed)
    server.ask("DELETE", f"/attachments/{other['attachments'][0]['id']}.json")
    return count + 1
