"""Request Tracker 5 (Debian's request-tracker5, SQLite, its own server): tickets with their conversation, by REST 2."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.proof.real import debian
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, first, outage, silent
from tests.proof.real.daemons import Daemon, free_port
from tests.proof.real.desk import NAME, Desk
from tests.proof.real.example import example
from tests.proof.real.line import Line

SERVER = "/usr/share/request-tracker5/libexec/rt-server"
SEED = Path(__file__).parent / "seeds" / "rt.pl"
SETTLED = 3.5
"""Seconds after which a date in whole seconds is trusted."""
TICKETS, MORE = 64, 48

CONFIG = """
Set($rtname, 'proof'); Set($Organization, 'proof'); Set($Timezone, 'Europe/Berlin');
Set($WebDomain, '127.0.0.1'); Set($WebPort, {port}); Set($WebPath, '');
Set($DatabaseType, 'SQLite'); Set($DatabaseName, '{folder}/rt5'); Set($DatabaseAdmin, '');
Set($LogToSyslog, undef); Set($LogToSTDERR, 'error'); Set($LogToFile, undef);
Set($MailCommand, 'testfile'); Set($BcryptCost, 10);
$RT::MasonDataDir = '{folder}/mason';
1;
"""


class Tracker:
    """An RT whose files are all in `folder`. Each request with a token costs a tenth of a second: tokens are hashed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        self.line = Line(port)
        (folder / "RT_SiteConfig.pm").write_text(CONFIG.format(port=self.line.port, folder=folder))
        self._folder = folder
        self._environ = {
            "RT_SITE_CONFIG": f"{folder}/RT_SiteConfig.pm",
            "RT_SITE_CONFIG_DIR": "/dev/null",
            "TMPDIR": str(folder),
        }
        command = [SERVER, "--server", "Starlet", "--max-workers", "4", "--host", "127.0.0.1", "--port", str(port)]
        self._daemon = Daemon(command, port, folder / "said.log", self._environ)
        self._run(["rt-setup-database-5", "--action", "init", "--skip-create"])
        self.token = self.do("init", secrets.token_hex(12))["token"]
        self.shown: set[int] = set()
        self._count = 0

    def start(self) -> None:
        self._daemon.start()

    def stop(self) -> None:
        self._daemon.stop()

    def do(self, *words: str) -> dict[str, Any]:
        ran = self._run(["perl", str(SEED), *words])
        time.sleep(SETTLED)
        said: dict[str, Any] = json.loads(ran.strip().splitlines()[-1])
        return said

    def fill(self, count: int) -> int:
        made = self.do("fill", str(count), str(self._count))["made"]
        self._count += count
        self.shown |= {int(number) for number in made}
        return len(made)

    def uris(self) -> set[str]:
        return {f"{NAME}/tickets/{number}" for number in self.shown}

    def _run(self, command: list[str]) -> str:
        ran = subprocess.run(
            command,
            env={**os.environ, **self._environ},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        if ran.returncode:
            raise RuntimeError(f"{command[0]} failed: {ran.stderr[-600:]}")
        return ran.stdout


@contextmanager
def running(folder: Path) -> Iterator[Tracker]:
    server = Tracker(folder)
    server.fill(TICKETS)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.line.down()


def prove(folder: Path) -> Checks:
    """All checks. Raises `NotRun`."""
    debian.need("request-tracker5", "rt5-db-sqlite", "rt5-standalone")
    checks = Checks("request-tracker", debian.version("request-tracker5") or "")
    with running(folder / "server") as server:
        text = example(
            "request-tracker", "https://rt.example.org/REST/2.0", f"http://127.0.0.1:{server.line.port}/REST/2.0"
        )
        desk = Desk(folder / "desk", text, {"RT_TOKEN": server.token})
        first(checks, desk, server)
        found = json.dumps(desk.run("search", "x", "-k", "5000", "--json").account.get("hits", []))
        long = all(f"part {n} of 3:" in found for n in range(1, 46))
        checks.that("a long conversation is there whole, HTML too", long and "In HTML about" in found)
        checks.that("no comment that the account may not see is indexed", "SECRETCOMMENT" not in found)
        some = sorted(server.shown)
        server.do("edit", ",".join(map(str, some[:9])))
        new = server.fill(3)
        changed(checks, desk, server, "answers, new subjects, new states and tickets, by the feed", 9 + new)
        gone, into = some[20:27], some[30]
        server.do("remove", *(",".join(map(str, each)) for each in (gone[:3], gone[3:5], gone[5:], [into])))
        server.shown -= set(gone)
        changed(
            checks, desk, server, "3 tickets deleted, 2 moved out of sight, 2 merged, by the full listing", 1, "--full"
        )
        outage(checks, desk, server, lambda: server.fill(MORE), 80)
        wrong = Desk(folder / "wrong", text, {"RT_TOKEN": "1-14-0123456789abcdef0123456789abcdef"})
        ran = wrong.ingest()
        checks.that("a wrong token stops the source with exit 2", ran.code == 2 and "401" in ran.said, ran.brief())
        silent(checks, desk)
    return checks
