"""What a web server does that others wrote: limits, conditions, ranges, TLS, redirects."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.connectors.http.types import NotModified
from tests.connectors.http.doors import bench
from tests.proof.real import debian
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, few, first, outage, silent
from tests.proof.real.desk import Desk
from tests.proof.real.nginx_server import Nginx, config

DOCUMENTS, MORE = 90, 150
LARGE = 4_000_000
KEY = {"KEY": "nginx-does-not-ask-6ec1a27b"}
FEW_TRIES = ", attempts = 4, retry_seconds = 6"


@contextmanager
def running(folder: Path) -> Iterator[Nginx]:
    server = Nginx(folder, DOCUMENTS)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.line.down()


def prove(folder: Path) -> Checks:
    """All checks. Raises `NotRun`."""
    debian.need("nginx-light" if debian.version("nginx") is None else "nginx", "openssl")
    checks = Checks("nginx", debian.version("nginx-common") or "")
    with running(folder / "server") as server:
        plain = config(f"http://127.0.0.1:{server.line.port}", network=FEW_TRIES)
        desk = Desk(folder / "desk", plain, KEY)
        first(checks, desk, server)
        checks.that("pages come packed", server.log("as=gzip"), f"{len(server.log('as=gzip'))} answers in gzip")
        touched = server.write(range(30, 40)) + server.write(range(DOCUMENTS, DOCUMENTS + 5))
        server.remove(range(50, 58))
        changed(checks, desk, server, "changes, new documents and deletions", touched)
        outage(checks, desk, server, lambda: server.write(range(1000, 1000 + MORE)), 90)
        vanished(checks, desk, server)
        limits(checks, server, folder)
        secure(checks, server, folder)
        redirected(checks, desk, server)
        conditions(checks, server, folder)
        ranges(checks, server, folder)
        silent(checks, desk)
    return checks


def vanished(checks: Checks, desk: Desk, server: Nginx) -> None:
    """Half of the source is gone at once: a mistake there, perhaps."""
    before = len(server.uris())
    server.remove(range(1020, 1000 + MORE))
    gone = before - len(server.uris())
    ran = desk.ingest()
    checks.that(
        "when half of it is gone at once, nothing is deleted, and it is said",
        ran.code == 1 and ran.withheld == gone and len(desk.indexed()) == before,
        f"{gone} gone; {ran.brief()}",
    )
    ran = desk.ingest("--confirm-deletions", str(gone))
    checks.that("after --confirm-deletions they are", ran.code == 0 and desk.indexed() == server.uris(), ran.brief())


def limits(checks: Checks, server: Nginx, folder: Path) -> None:
    """`limit_req` and `limit_conn`, under them and over them."""
    origin = f"http://127.0.0.1:{server.line.port}"
    for what, path, budget, refused in (
        (
            f"a budget of {server.RATE - 4} requests/s stays under limit_req of {server.RATE}/s",
            "/strict",
            f"requests_per_second = {server.RATE - 4}, concurrency = 8",
            False,
        ),
        ("without a budget, limit_req answers 429, and everything lands", "/strict", "concurrency = 8", True),
        ("limit_conn of 2 answers 503 to concurrency of 8, and everything lands", "/narrow", "concurrency = 8", True),
    ):
        desk = Desk(folder / f"limited-{len(checks.made)}", config(origin, path, budget=budget), KEY)
        before = len(server.log(path))
        ran = desk.ingest()
        lines = server.log(path)[before:]
        no = sum(line.startswith(("429", "503")) for line in lines)
        have = desk.indexed() if ran.account else set()
        checks.that(
            what,
            ran.code == 0 and have == server.uris() and bool(no) == refused,
            f"{len(lines)} requests, {no} refused; {ran.brief()}{few(have ^ server.uris())}",
        )


def secure(checks: Checks, server: Nginx, folder: Path) -> None:
    """TLS with a certificate that only `ca_file` knows."""
    origin = f"https://127.0.0.1:{server.tls}"
    trust = f', ca_file = "{server.www.parent}/cert.pem"'
    desk = Desk(folder / "tls", config(origin, network=FEW_TRIES), KEY)
    ran = desk.ingest()
    checks.that(
        "a self-signed certificate stops the source with exit 2",
        ran.code == 2 and "certificate" in ran.said,
        ran.brief(),
    )
    desk.config = config(origin, network=FEW_TRIES + trust)
    ran = desk.ingest()
    checks.that("with ca_file it is read", ran.code == 0 and desk.indexed() == server.uris(), ran.brief())
    other = config(f"https://localhost:{server.tls}", network=FEW_TRIES + trust, allow="localhost")
    ran = Desk(folder / "name", other, KEY).ingest()
    checks.that(
        "a certificate of another name stops it all the same", ran.code == 2 and "certificate" in ran.said, ran.brief()
    )


def redirected(checks: Checks, desk: Desk, server: Nginx) -> None:
    """Redirects to private addresses that nobody allowed."""
    numbers = [n for n in server.documents if n % 3][:2]
    for n, name in zip(numbers, ("away", "far"), strict=True):
        server.attach(n, name)
    ran = desk.ingest()
    told = desk.run("failures", "--json").account.get("failures", [])
    refused = [each for each in told if "away" in each["uri"] or "far" in each["uri"]]
    hits = desk.run("search", "INSIDE", "-k", "1000", "--json").account["hits"]
    inside = str([hit["text"] for hit in hits]) + str(server.log("/inside"))
    checks.that(
        "redirects to private addresses are refused, by item",
        ran.code == 1 and ran.failed == 2 == len(refused) and "INSIDE" not in inside and not server.log("/inside"),
        f"{ran.brief()}; {refused and refused[0]['detail']}",
    )
    server.write(range(numbers[0], numbers[0] + 1))
    server.write(range(numbers[1], numbers[1] + 1))
    desk.later += 7200
    ran = desk.ingest()
    checks.that(
        "when they are gone, the source is whole again", ran.code == 0 and desk.indexed() == server.uris(), ran.brief()
    )


def conditions(checks: Checks, server: Nginx, folder: Path) -> None:
    """If-None-Match and If-Modified-Since as nginx answers them."""
    (folder / "parts").mkdir()
    door = bench(folder / "parts").door
    url = f"http://127.0.0.1:{server.line.port}/files/f0.txt"
    got = door.download(url, max_bytes=LARGE)
    same = 0
    for name, value in (("If-None-Match", got.etag), ("If-Modified-Since", got.last_modified)):
        try:
            door.download(url, headers={name: value}, max_bytes=LARGE)
        except NotModified:
            same += bool(value)
    server.write(range(1))
    fresh = door.download(url, headers={"If-None-Match": got.etag}, max_bytes=LARGE)
    checks.that(
        "ETag and Last-Modified: 304 while it is the same, the new file when it is not",
        same == 2
        and fresh.etag != got.etag
        and fresh.path.read_bytes() == (server.www / "files" / "f0.txt").read_bytes(),
    )


def ranges(checks: Checks, server: Nginx, folder: Path) -> None:
    """A large file over a line that is cut, a file that changes meanwhile, a server that restarts in the middle."""
    file, line = server.www / "files" / "large.bin", server.line
    url = f"http://127.0.0.1:{line.port}/slow/files/large.bin"
    file.write_bytes(random.Random(5).randbytes(LARGE))
    rules = {"attempts": 30, "total_seconds": 60.0}

    def get(name: str) -> tuple[bytes, int, list[str]]:
        (folder / name).mkdir()
        said, asked = line.answered, len(server.log("large.bin"))
        got = bench(folder / name, rules=rules, sleep=lambda seconds: time.sleep(min(seconds, 0.3)))
        data = got.door.download(url, max_bytes=LARGE).path.read_bytes()
        return data, line.answered - said, server.log("large.bin")[asked:]

    line.cut_at = lambda: 900_000
    data, carried, asked = get("cut")
    resumed = sum("206" in each and "if=-" not in each for each in asked)
    checks.that(
        "a cut download goes on by Range and If-Range",
        data == file.read_bytes() and carried < 1.1 * LARGE and resumed > 2,
        f"{carried / LARGE:.2f} times its size, {resumed} continued",
    )
    cuts = iter([900_000])

    def change() -> int | None:
        if limit := next(cuts, None):
            return limit
        file.write_bytes(random.Random(6).randbytes(LARGE))
        return None

    line.cut_at = change
    data, _, asked = get("changed")
    checks.that(
        "a file that changed meanwhile is begun again, and no mixture",
        data == random.Random(6).randbytes(LARGE),
        f"{[each.split()[0] for each in asked]}",
    )
    line.cut_at = lambda: None

    def restart() -> None:
        server.stop()
        time.sleep(0.5)
        server.start()

    threading.Timer(1.2, restart).start()
    data, carried, asked = get("restarted")
    checks.that(
        "nginx restarts in the middle: it goes on where it was",
        data == file.read_bytes() and carried < 1.3 * LARGE,
        f"{carried / LARGE:.2f} times its size; {[each.split()[0] for each in asked]}",
    )
