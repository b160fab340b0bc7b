"""What each source goes through: first run, second run, changes, deletions, the server gone in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.proof.real.checks import Checks
from tests.proof.real.desk import NAME, Desk, Ran
from tests.proof.real.line import Line


class Server(Protocol):
    """A server that is filled and changed through its own means."""

    line: Line

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def uris(self) -> set[str]:
        """What must be in the index now, by uri."""
        ...


def first(checks: Checks, desk: Desk, server: Server) -> None:
    ran = desk.run("sources", "test", NAME, "--json")
    checks.that(
        "`penstock sources test` finds it well, and writes nothing",
        ran.code == 0 and not desk.home.exists(),
        f"{len(ran.account.get('steps', ()))} steps; {ran.seconds:.1f} s",
    )
    server.line.asked = 0
    ran = desk.ingest()
    want, have = server.uris(), desk.indexed() if ran.account else set()
    checks.that(
        "the first run indexes all there is",
        ran.code == 0 and have == want,
        f"{len(have)} of {len(want)} documents in about {server.line.asked} exchanges; {ran.brief()}{few(want ^ have)}",
    )
    version = ran.version
    ran = desk.ingest()
    same = ran.code == 0 and ran.fetched == 0 and ran.embedded_tokens == 0 and ran.version == version
    checks.that("a second run fetches nothing, embeds nothing and commits nothing", same, ran.brief())


def changed(checks: Checks, desk: Desk, server: Server, what: str, most: int, *words: str, tokens: bool = True) -> Ran:
    """After a change at the server the index is the same as a clean build; at most `most` bodies were fetched."""
    ran = desk.ingest(*words)
    want, have = server.uris(), desk.indexed()
    apart = desk.differences(tokens=tokens)
    good = ran.code == 0 and have == want and not apart and ran.fetched <= most
    checks.that(
        f"{what}: the index equals a clean build",
        good,
        f"{ran.brief()}{few(want ^ have)}{'; ' + apart if apart else ''}; {most} at most to fetch",
    )
    return ran


def outage(checks: Checks, desk: Desk, server: Server, new: Callable[[], int], after: int) -> None:
    """The server stops when `after` more things were asked for, in a run that has `new()` documents to do."""
    count = new()

    def stop() -> None:
        server.line.down()
        server.stop()

    server.line.at(after, stop)
    ran = desk.ingest()
    server.start()
    server.line.up()
    partly = ran.code == 1 and 0 < ran.indexed < count and ran.indexed + ran.failed + ran.deferred >= count
    checks.that(
        "the server stops in the middle: exit 1, and what was prepared is committed",
        partly,
        f"{count} to do; {ran.brief()}",
    )
    done, desk.later = ran.indexed, desk.later + 7200
    ran = desk.ingest()
    want, have = server.uris(), desk.indexed()
    apart = desk.differences()
    good = ran.code == 0 and have == want and not apart and ran.fetched <= count - done
    checks.that(
        "the next run does only the rest, and the index equals a clean build",
        good,
        f"{ran.brief()}{few(want ^ have)}{'; ' + apart if apart else ''}",
    )


def silent(checks: Checks, desk: Desk) -> None:
    leaks = desk.leaks()
    checks.that("secrets are in no output, no file of the home, no process list", not leaks, leaks)


def few(uris: set[str]) -> str:
    return f"; differing: {', '.join(sorted(uris)[:4])}" if uris else ""
