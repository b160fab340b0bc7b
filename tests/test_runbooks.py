"""The runbooks do what they say: each disaster is made for real, and the commands of its page are run as written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.connectors.http.breaker import FAILURES
from penstock.connectors.http.budget import SharedBudget
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.types import BudgetLimits, Outcome
from penstock.flows.cli import build_parser
from penstock.index.reading.reader import Reader
from tests import prefect_help
from tests.fakes.embeddings_server import Embeddings, vector
from tests.fakes.json_api import JsonApi
from tests.fakes.rough.serving import Serving

PAGES = Path(__file__).parent.parent / "docs" / "runbooks"
BIN = Path(sys.executable).parent
QUESTIONS = ("How fast may water come in?", "Who is called at night?", "Document 4", "a spare pump")
SUBJECTS = ("The gate", "A spare pump", "The night watch", "Water", "The wheel", "An old valve")


class Page:
    """A runbook, by its sections: `sh` blocks are run as they are, `text` blocks are what is seen then; `…` in those
    stands for anything in a line. A section that needs places sets them in its first block, a variable a line."""

    def __init__(self, name: str) -> None:
        text = (PAGES / f"{name}.md").read_text("utf-8")
        self._sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])

    def seen(self, which: int = 0, section: str = "What you see") -> str:
        """One of the texts of a section: by default those by which the disaster is known."""
        return blocks(self._sections[section], "text")[which]

    def commands(self, section: str = "What to do") -> tuple[list[str], str]:
        """(the places that a section needs, what it says to run)."""
        found = blocks(self._sections[section], "sh")
        places = re.findall(r"^([A-Z]+)=\S+$", found[0], re.MULTILINE)
        if places:
            assert len(places) == len(found.pop(0).splitlines())
        return places, "\n".join(found)


def blocks(text: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, those in lists too, without their indent."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def shows(said: str, expected: str) -> None:
    """Every line that a page promises is there."""
    for line in expected.splitlines():
        assert re.search(r"^\s*" + ".*".join(map(re.escape, line.split("…"))) + r"$", said, re.MULTILINE), (line, said)


class Site:
    """A machine with a home, documents and a configuration, another disk for the DR store, and an endpoint for vectors:
    what was paid for again is what it was asked for again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.docs, self.home = folder / "site", folder / "site/documents", folder / "site/.penstock"
        self.elsewhere = folder / "elsewhere"
        self.app = Embeddings()
        url = stack.enter_context(Serving(self.app)).url  # type: ignore[arg-type]
        for made in (self.docs, self.elsewhere, folder / "slots"):
            made.mkdir(parents=True)
        endpoint = f'url = "{url}/v1"\nallow = ["127.0.0.0/8"]'
        self.configuration = (
            f'home = ".penstock"\n[snapshots]\nstore = "{self.elsewhere}/penstock"\n'
            '[sources.handbook]\ntype = "files"\npath = "documents"\n'
            f'[embed]\nmodel = "fake-embed"\n[embed.endpoint]\n{endpoint}\n'
        )
        (self.folder / "penstock.toml").write_text(self.configuration)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PENSTOCK_"))},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PENSTOCK_SLOTS": str(folder / "slots"),
        }

    def write(self, number: int, more: str = "") -> str:
        """What the document says now."""
        text = f"Document {number}. {SUBJECTS[number % len(SUBJECTS)]} is looked at {number} times.{more}"
        (self.docs / f"{number:02d}.txt").write_text(text)
        return text

    def shell(self, script: str, **places: object) -> str:
        """What a script says, under `bash -e`, in the folder of the configuration. It has to succeed."""
        environ = {**self.environ, **{name: str(path) for name, path in places.items()}}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder, env=environ, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def follow(self, page: Page, section: str = "What to do", **places: object) -> str:
        """What is said when everything of a section is run in one shell."""
        needed, script = page.commands(section)
        assert needed == list(places)
        return self.shell(script, **places)

    def over(self, page: Page) -> str:
        """See that it is over as the page says. What its commands said."""
        section = "How to know that it is over"
        said = self.follow(page, section)
        shows(said, page.seen(section=section))
        return said

    def found(self) -> list[list[tuple[str, float, str]]]:
        """What questions find: uri, score, text."""
        with Reader.open(self.home) as reader:
            answers = reader.search(np.array([vector(question) for question in QUESTIONS]), k=5)
        return [[(hit.uri, hit.score, hit.text) for hit in hits] for hits in answers]

    def embedded(self) -> list[str]:
        """Texts of documents that were sent to the endpoint since this was asked last."""
        texts = [text for one in self.app.asked for text in one.texts if text.startswith("Document ")]
        self.app.asked.clear()
        return sorted(set(texts) - set(QUESTIONS))

    def ask(self, *words: str) -> dict[str, Any]:
        """The JSON of a command that succeeds."""
        done = subprocess.run(
            [BIN / "penstock", *words, "--json"], cwd=self.folder, env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        made = Site(tmp_path, stack)
        for number in range(12):
            made.write(number)
        made.ask("ingest")
        yield made


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for the pages of alerts, each of which leaves it well."""
    with ExitStack() as stack:
        made = Site(tmp_path_factory.mktemp("standing"), stack)
        for number in range(12):
            made.write(number)
        made.ask("ingest")
        yield made


def gone(replica: Path) -> None:
    shutil.rmtree(replica)


def emptied(replica: Path) -> None:
    shutil.rmtree(replica)
    replica.mkdir()


def damaged(replica: Path) -> None:
    for file in replica.glob("blobs/*/*"):
        body = bytearray(file.read_bytes())
        body[len(body) // 2] ^= 1
        file.write_bytes(body)


def test_a_replica_that_is_lost_is_put_back(site: Site) -> None:
    """Whether it is gone, empty or damaged, or its place is lost: the same bytes again, nothing embedded."""
    page, found = Page("replica-lost"), site.found()
    site.embedded()
    for which, happens in enumerate([gone, emptied, damaged]):
        happens(site.home / "replicas/1")
        shows(site.shell("penstock status"), page.seen(which))
        site.follow(page, "What to do: in the same place")
        site.over(page)
    gone(site.home / "replicas/1")
    site.follow(page, "What to do: in another place", NEW=site.elsewhere / "replica")
    site.over(page)
    gone(site.home / "replicas/0")
    assert site.found() == found
    assert site.embedded() == []


def test_what_is_damaged_everywhere_comes_from_the_dr_store(site: Site) -> None:
    """The manifest that is served, also with the catalog and a replica lost; nothing embedded."""
    page, found = Page("damaged-everywhere"), site.found()
    site.embedded()
    for alone in (False, True):
        if alone:
            gone(site.home / "replicas/0")
            (site.home / "catalog.db").unlink()
        for replica in site.home.glob("replicas/*"):
            damaged(replica)
        seen = site.shell("penstock status || test $? = 3")
        shows(seen, page.seen())
        assert "Next: a DR store may have what is lost: penstock repair" in seen
        assert "takes it from another replica or a DR store" in site.shell("penstock verify || test $? = 1")
        site.follow(page)
        site.over(page)
        assert site.found() == found
    assert site.embedded() == []


def test_a_catalog_that_is_lost_is_made_again(site: Site) -> None:
    """By the next run, from the replicas; what changed at the source meanwhile is all that it embeds."""
    page = Page("catalog-lost")
    site.embedded()
    for which, happens in enumerate([Path.unlink, lambda catalog: catalog.write_bytes(b"no database" * 100)]):
        happens(site.home / "catalog.db")
        for file in site.home.glob("catalog.db-*"):
            file.unlink()
        site.write(3, f" And again: {which}.")
        shows(site.shell("penstock status"), page.seen(which))
        site.follow(page)
        site.over(page)
        assert site.embedded() == [(site.docs / "03.txt").read_text()]
    assert [len(hits) for hits in site.found()] == [5] * len(QUESTIONS)


def test_a_site_that_is_lost_is_restored(site: Site, tmp_path: Path) -> None:
    """The same answers; exactly what differs from the sources is embedded; the old site may not write any more."""
    page, found, dr = Page("site-lost"), site.found(), site.elsewhere / "penstock"
    old, new = tmp_path / "old", tmp_path / "new"
    site.folder.rename(old)
    shutil.copytree(old / "documents", site.docs)
    (site.folder / "penstock.toml").write_text(site.configuration)
    shows(site.shell("penstock status || true"), page.seen())
    site.embedded()
    site.follow(page, DR=dr, NEXT=site.elsewhere / "next")
    site.over(page)
    (best,) = (hit["uri"] for hit in site.ask("search", QUESTIONS[0], "-k", "1")["hits"])
    assert site.found() == found and best == found[0][0][0]
    assert site.embedded() == []
    changed = [site.write(number, " And more.") for number in (1, 2, 3, 20)]
    for number in (4, 5):
        (site.docs / f"{number:02d}.txt").unlink()
    account = site.ask("ingest")
    assert (account["indexed"], account["deleted"]) == (4, 2)
    assert site.embedded() == sorted(changed)
    site.folder.rename(new)
    old.rename(site.folder)
    site.write(6, " And more.")
    assert '"fenced"' in site.shell("penstock ingest --json || test $? = 3")


def test_a_bad_ingest_is_undone_and_stays_undone(site: Site) -> None:
    """Through the next run on a schedule too; once the source is right again, only what differs is embedded."""
    page, found = Page("bad-ingest"), site.found()
    right = {file: file.read_text() for file in site.docs.iterdir()}
    for number in (1, 2, 3):
        (site.docs / f"{number:02d}.txt").write_text(f"%&/%&/ {number}")
    (site.docs / "04.txt").unlink()
    site.ask("ingest")
    shows(site.shell("penstock status"), page.seen())
    assert site.found() != found
    site.follow(page, GOOD=1)
    site.shell("penstock ingest")
    shows(site.shell("penstock status"), page.seen(section="What to do"))
    assert site.found() == found
    site.embedded()
    for file, text in right.items():
        file.write_text(text)
    new = site.write(30)
    site.follow(page, "What to do: when the source is right again", SOURCE="handbook")
    site.over(page)
    assert site.embedded() == [new]


def test_a_bad_ingest_of_a_folder_that_no_file_describes_is_undone_too(site: Site) -> None:
    """A run of all sources would leave it out: resume says so, and the page names it."""
    page, late = Page("bad-ingest"), site.folder / "behind"
    late.mkdir()
    text = "Document 90. The late one is looked at once."
    (late / "90.txt").write_text(text)
    good = site.ask("ingest", "behind", "--as", "late")["version"]
    (late / "90.txt").write_text("%&/%&/")
    site.ask("ingest", "late")
    site.follow(page, GOOD=good)
    (late / "90.txt").write_text(text + " Twice.")
    site.embedded()
    site.follow(page, "What to do: when the source is right again", SOURCE="late")
    site.over(page)
    assert site.embedded() == [text + " Twice."]
    site.shell(f"penstock rollback --to {good} --yes")
    said = site.shell("penstock sources resume --all")
    assert "Not in the configuration: late." in said and f"Next: penstock ingest {late}" in said


def test_a_source_that_was_removed_by_mistake_is_there_again(site: Site) -> None:
    """With all its vectors."""
    page, found = Page("source-removed"), site.found()
    shows(site.shell("penstock sources remove handbook --yes"), page.seen())
    assert not any(site.found())
    shutil.rmtree(site.home / "cache")
    site.embedded()
    site.follow(page, BEFORE=1)
    site.over(page)
    assert site.found() == found
    assert site.embedded() == []


WIKI = """
[sources.wiki]
type = "rest"
url = "URL"
network = { allow = ["127.0.0.0/8"] }
[[sources.wiki.collections]]
name = "pages"
list = "/none/items"
items = ""
paging = { kind = "none" }
title = "{id}"
body = "{body}"
"""


def test_a_source_that_is_left_alone_comes_back(site: Site) -> None:
    """Eight failures open its breaker; once it answers again, the page closes it and what was missed is embedded."""
    page, tickets = Page("alert-breaker-open"), iter(map(str, range(100)))
    with JsonApi().serving() as api:
        api.rows = {"1": {"id": "1", "body": "Document 70. A page of the wiki."}}
        (site.folder / "penstock.toml").write_text(site.configuration + WIKI.replace("URL", api.url))
        budget = SharedBudget(
            "wiki", BudgetLimits(), FileLedger(site.home / "budgets"),
            clock=time.time, sleep=time.sleep, random=lambda: 0.5, token=lambda: next(tickets),
        )  # fmt: skip
        for _ in range(FAILURES):
            with budget.request() as permit:
                permit.done(Outcome("failed"))
        shows(site.shell("penstock status"), page.seen())
        site.embedded()
        site.follow(page, SOURCE="wiki")
        assert "is not asked" not in site.over(page)
    assert site.embedded() == ["Document 70. A page of the wiki."]


def test_a_degraded_replica_is_brought_up(standing: Site) -> None:
    """Gone, or emptied, which stops writing: the same page, the same bytes."""
    page, found = Page("alert-replica-degraded"), standing.found()
    for which, happens in enumerate([gone, Path.mkdir]):
        happens(standing.home / "replicas/1")
        shows(standing.shell("penstock status"), page.seen(which))
    standing.follow(page)
    standing.over(page)
    assert standing.found() == found


def test_withheld_deletions_are_confirmed_by_their_number(standing: Site) -> None:
    """Looking changes nothing; confirming takes exactly what is gone away."""
    page = Page("alert-deletions-withheld")
    for number in range(30):
        standing.write(number)
    standing.ask("ingest")
    for number in range(5, 30):
        (standing.docs / f"{number:02d}.txt").unlink()
    shows(standing.shell("penstock ingest || test $? = 1"), page.seen())
    before = standing.ask("status")["documents"]
    standing.follow(page, SOURCE="handbook", GONE=25)
    standing.over(page)
    assert (before, standing.ask("status")["documents"]) == (30, 5)


def test_a_drill_that_failed_passes_again(standing: Site) -> None:
    """The damaged blob is named, deleted by whoever may, and put back by shipping."""
    page, blobs = Page("alert-drill-failed"), standing.elsewhere / "penstock/blobs"
    newest = max(standing.home.glob("replicas/0/log/*")).read_text()
    manifest = json.loads(newest.splitlines()[0])["manifest"]["name"]
    (damaged_there,) = blobs.glob(f"*/{manifest}")
    body = bytearray(damaged_there.read_bytes())
    body[len(body) // 2] ^= 1
    damaged_there.write_bytes(body)
    assert "Failed: what was shipped" in standing.shell("penstock drill || test $? = 1")
    shows(standing.shell("penstock status"), page.seen())
    named = standing.shell("penstock snapshot verify || test $? = 1")
    assert damaged_there.name in named and "delete it there" in named
    damaged_there.unlink()
    standing.follow(page)
    standing.over(page)


def test_a_dr_store_that_is_behind_catches_up(standing: Site) -> None:
    """It was not there while a run committed; afterwards it has all of it."""
    page, away = Page("alert-ship-behind"), standing.folder / "away"
    standing.elsewhere.rename(away)
    standing.elsewhere.write_text("no folder")
    standing.write(3, " And more, while the DR store is away.")
    standing.ask("ingest")
    shows(standing.shell("penstock status"), page.seen())
    standing.elsewhere.unlink()
    away.rename(standing.elsewhere)
    standing.follow(page)
    standing.over(page)


def test_an_old_snapshot_is_followed_by_a_new_one(standing: Site) -> None:
    """And by a drill, which is on the same kind of schedule."""
    page = Page("alert-snapshot-old")
    shows(standing.shell("penstock snapshot list"), page.seen())
    standing.follow(page)
    standing.over(page)


def test_after_a_failed_run_the_next_one_goes_on(standing: Site) -> None:
    """What it had prepared is taken over; only what has no vector is embedded."""
    page = Page("alert-run-failed")
    changed = standing.write(3, " And more, while the key is refused.")
    standing.app.status = 401
    standing.shell("penstock ingest || test $? = 1")
    standing.app.status = 0
    shows(standing.shell("penstock status"), page.seen())
    standing.embedded()
    standing.follow(page)
    standing.over(page)
    assert standing.embedded() == [changed]


def test_a_source_that_is_not_fresh_becomes_so(standing: Site) -> None:
    """The page names what stands in between, and the run that helps."""
    page, file = Page("alert-freshness"), standing.home / "freshness.json"
    fresh = standing.configuration.replace('path = "documents"\n', 'path = "documents"\nfreshness = "1h"\n')
    (standing.folder / "penstock.toml").write_text(fresh)
    standing.ask("ingest")
    kept = json.loads(file.read_text().splitlines()[0])
    kept["sources"]["handbook"]["as_of"] -= 7200
    line = json.dumps(kept, separators=(",", ":"))
    file.write_text(f"{line}\n{hashlib.sha256(line.encode()).hexdigest()}\n")
    shows(standing.shell("penstock watch --once || test $? = 1"), page.seen())
    standing.follow(page, SOURCE="handbook")
    standing.over(page)


def test_what_penstock_can_do_about_a_dead_run_and_a_dead_worker_is_done(standing: Site) -> None:
    """The commands of prefect are in blocks that are not run; the others are."""
    for page in (Page("alert-zombie-run"), Page("alert-watch-silent")):
        standing.follow(page)
        standing.over(page)


def test_every_alert_has_a_page_that_says_how_bad_it_is() -> None:
    """Each page that an automation names is there and in the index, and each alert's page is named by one."""
    automations = (PAGES.parent.parent / "flows/deploying/automations.py").read_text("utf-8")
    named = set(re.findall(r"alert-[a-z-]+", automations))
    pages = {file.stem for file in PAGES.glob("alert-*.md")}
    assert named == pages
    for name in pages:
        text = (PAGES / f"{name}.md").read_text("utf-8")
        assert text.startswith("# Alert: ") and "**How bad:** " in text
        assert "first look" in text.lower()


def test_the_commands_of_prefect_on_the_pages_exist() -> None:
    """With their options."""
    asked: dict[tuple[str, ...], set[str]] = {}
    for file in PAGES.glob("*.md"):
        text = file.read_text("utf-8")
        lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
        for line in [*lines, *re.findall(r"`(prefect [^`]+)`", text)]:
            words = shlex.split(line)
            if words[0] == "prefect":
                asked.setdefault(tuple(words[1:3]), set()).update(word for word in words if word.startswith("--"))
            else:
                assert words[0] == "penstock" and build_parser().parse_args(words[1:]).command
    assert ("flow-run", "ls") in asked
    there = prefect_help.options(asked)
    assert {command for command, words in asked.items() if not words <= there[command]} == set()


def test_every_page_is_in_the_index_and_has_its_sections() -> None:
    """And a command in the middle of a sentence is understood, too."""
    index = (PAGES / "README.md").read_text("utf-8")
    for file in sorted(PAGES.glob("*.md")):
        if file.name != "README.md":
            page = Page(file.stem)
            assert f"({file.name})" in index
            assert page.seen() and page.commands("How to know that it is over")
        for command in re.findall(
            r"`penstock (.+?)`", re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.DOTALL)
        ):
            assert build_parser().parse_args(shlex.split(command)).command
