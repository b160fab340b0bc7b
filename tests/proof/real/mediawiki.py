"""Pages of a real wiki: edits, moves, deletions, imports that no feed shows, templates, a private wiki, lag."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.proof.real import debian
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, first, outage, silent
from tests.proof.real.desk import NAME, Desk
from tests.proof.real.example import NETWORK
from tests.proof.real.prose import prose
from tests.proof.real.wiki_server import Wiki

PAGES, MORE = 240, 90


def text(n: int, dice: random.Random) -> str:
    """A page as people write them: a template, headings, links, a table, a category."""
    some = [prose(dice, 40) for _ in range(4)]
    return (
        f"{{{{Unit|no={n}}}}}\n'''Unit {n}''' is near [[Unit {dice.randrange(PAGES)}]] — äöü ☃.\n\n"
        f"== Use ==\n{some[0]}\n"
        f'=== Details ===\n{some[1]}\n\n{{| class="wikitable"\n! part !! state\n|-\n| {some[2][:30]} || good\n|}}\n\n'
        f"== Care ==\n* {some[2]}\n* {some[3]}\n\n[[Category:Units]]\n"
    )


def fill(wiki: Wiki) -> None:
    dice = random.Random(7)
    wiki.write({"Unit": "<div>Unit number {{{no}}}, see the manual.</div>"}, prefix="Template:")
    wiki.write({f"Unit {n}": text(n, dice) for n in range(PAGES)})
    wiki.write({f"Guide {n}": text(n, dice) for n in range(20)}, prefix="Help:")
    wiki.write({f"Old name {n}": f"#REDIRECT [[Unit {n}]]" for n in range(15)})
    wiki.write({f"Minutes {n}": text(n, dice) for n in range(10)}, prefix="Project:")
    wiki.jobs()


@contextmanager
def running(folder: Path) -> Iterator[Wiki]:
    wiki = Wiki(folder)
    fill(wiki)
    wiki.start()
    try:
        yield wiki
    finally:
        wiki.stop()
        wiki.line.down()


def config(wiki: Wiki, more: str = "", patience: int = 3) -> str:
    return (
        f'[sources.{NAME}]\ntype = "mediawiki"\nurl = "{wiki.api}"\nnamespaces = [0, 12]\npage_size = 50\n'
        f"overlap = 2\nbudget = {{ concurrency = 4, patience = {patience} }}\n{NETWORK}\n{more}"
    )


def prove(folder: Path) -> Checks:
    """All checks. Raises `NotRun`."""
    debian.need("mediawiki", "php-cli", "php-sqlite3", "php-xml", "php-mbstring", "php-intl")
    checks = Checks("mediawiki", debian.version("mediawiki") or "")
    with running(folder / "server") as wiki:
        desk = Desk(folder / "desk", config(wiki), {"WIKI_PASSWORD": wiki.bot()})
        first(checks, desk, wiki)
        edits(checks, desk, wiki)
        unfed(checks, desk, wiki)
        dice = random.Random(8)
        pages = {f"Late {n}": text(n, dice) for n in range(MORE)}
        outage(checks, desk, wiki, lambda: wiki.write(pages), 50)
        lagging(checks, desk, wiki)
        private(checks, desk, wiki, folder)
        silent(checks, desk)
    return checks


def edits(checks: Checks, desk: Desk, wiki: Wiki) -> None:
    """What stands in the feed."""
    dice = random.Random(9)
    count = wiki.write({f"Unit {n}": text(n, dice) for n in range(40, 50)})
    count += wiki.write({f"New {n}": text(n, dice) for n in range(3)})
    # `tokens`: pages that link to a new one are rendered anew, which the feed does not tell and changes no text.
    changed(checks, desk, wiki, "edits and new pages, by the feed", count, tokens=False)
    moves = [f"Unit {n}|Machine {n}" for n in range(60, 66)] + ["Unit 66|Help:Unit 66", "Unit 67|Project:Unit 67"]
    wiki.batch("moveBatch", [*moves, "Project:Minutes 3|Minutes 3"])
    wiki.batch("deleteBatch", [f"Unit {n}" for n in range(80, 92)] + ["Help:Guide 3", "Old name 4"])
    wiki.write({"Unit 70": "#REDIRECT [[Unit 71]]", "Old name 5": text(5, dice)})
    changed(
        checks,
        desk,
        wiki,
        "moves, also between namespaces, deletions, redirects made and unmade, by the feed",
        6 + 1 + 1 + 1,
        tokens=False,
    )
    wiki.script("undelete", "Unit 82")
    changed(checks, desk, wiki, "a page that was restored, by the feed", 1, tokens=False)


def unfed(checks: Checks, desk: Desk, wiki: Wiki) -> None:
    """What only the listing shows."""
    wiki.dump(
        {
            "Imported A": "From elsewhere, about valves.",
            "Imported B": "More of it.",
            "Unit 5": "A newer text of unit 5.",
        }
    )
    fed = desk.ingest()
    checks.that("a dump that a script imported is not in the feed", fed.code == 0 and fed.fetched == 0, fed.brief())
    changed(checks, desk, wiki, "the same dump, by the full listing", 10, "--full")
    wiki.write({"Unit": "<div>Machine number {{{no}}}, see the new manual.</div>"}, prefix="Template:")
    wiki.jobs()
    ran = changed(checks, desk, wiki, "a template that all pages use, by the full listing", PAGES + 40, "--full")
    checks.that("a template's edit is embedded anew on the pages that use it", ran.indexed > PAGES // 2, ran.brief())


def lagging(checks: Checks, desk: Desk, wiki: Wiki) -> None:
    """`maxlag`: the wiki's own answer, Retry-After included."""
    dice = random.Random(10)
    wiki.write({f"Unit {n}": text(n, dice) for n in range(20, 24)})
    plain, desk.config = desk.config, config(wiki, patience=60)
    wiki.lag(True)
    threading.Timer(8.0, wiki.lag, (False,)).start()
    ran = desk.ingest()
    desk.config = plain
    slowed = ran.account.get("retries", {})
    checks.that(
        "while the wiki lags it is left alone, then everything lands",
        ran.code == 0 and ran.indexed == 4 and "throttled" in str(slowed),
        f"{ran.brief()}; {slowed}",
    )


def private(checks: Checks, desk: Desk, wiki: Wiki, folder: Path) -> None:
    """Nobody reads without logging in."""
    wiki.private()
    ran = desk.ingest("--full")
    checks.that(
        "a wiki that became private stops the source, and deletes nothing",
        ran.code == 2 and len(desk.indexed()) == len(wiki.uris()),
        ran.brief(),
    )
    desk.config = config(wiki, 'user = "Reader@proof"\npassword = "${WIKI_PASSWORD}"\n')
    changed(checks, desk, wiki, "the same wiki with a bot password", 0, "--full")
    wrong = Desk(folder / "wrong", desk.config, {"WIKI_PASSWORD": "0123456789abcdef0123456789abcdef"})
    ran = wrong.ingest()
    checks.that(
        "a wrong bot password stops the source with exit 2", ran.code == 2 and "password" in ran.said, ran.brief()
    )
