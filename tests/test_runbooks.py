"""The runbooks do what they say: each disaster is made for real, and the commands of its page are run as written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.embeddings_server import Embeddings
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

    def seen(self, which: int = 0) -> str:
        """One of the texts by which the disaster is known."""
        return blocks(self._sections["What you see"], "text")[which]

    def commands(self, section: str = "What to do") -> tuple[list[str], str]:
        """(the places that a section needs, what it says to run)."""
        found = blocks(self._sections[section], "sh")
        places = re.findall(r"^([A-Z]+)=\S+$", found[0], re.MULTILINE)
        if places:
            assert len(places) == len(found.pop(0).splitlines())
        return places, "\n".join(found)

    def over(self) -> tuple[str, str]:
        """(what is run to see that it is over, what is seen then)."""
        section = self._sections["How to know that it is over"]
        return "\n".join(blocks(section, "sh")), "\n".join(blocks(section, "text"))


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

    def write(self, number: int, more: str = "") -> None:
        subject = SUBJECTS[number % len(SUBJECTS)]
        (self.docs / f"{number:02d}.txt").write_text(f"Document {number}. {subject} is looked at {number} times.{more}")

    def shell(self, script: str, **places: Path) -> str:
        """What a script says, under `bash -e`, in the folder of the configuration. It has to succeed."""
        environ = {**self.environ, **{name: str(path) for name, path in places.items()}}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder, env=environ, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def follow(self, page: Page, section: str = "What to do", **places: Path) -> None:
        """Run what a section says, in one shell, then what shows that it is over; and see that it is."""
        needed, script = page.commands(section)
        assert needed == list(places)
        check, expected = page.over()
        self.shell(script, **places)
        shows(self.shell(check, **places), expected)

    def found(self) -> list[Any]:
        """What questions find: uris, scores, texts."""
        queries = "".join(json.dumps({"id": text, "text": text}) + "\n" for text in QUESTIONS)
        (self.folder / "questions.jsonl").write_text(queries)
        said = self.shell("penstock search --queries questions.jsonl --json -k 5 2> /dev/null")
        return [json.loads(line)["hits"] for line in said.splitlines()]

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
    gone(site.home / "replicas/1")
    site.follow(page, "What to do: in another place", NEW=site.elsewhere / "replica")
    gone(site.home / "replicas/0")
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
        assert site.embedded() == [(site.docs / "03.txt").read_text()]
    assert [len(hits) for hits in site.found()] == [5] * len(QUESTIONS)
