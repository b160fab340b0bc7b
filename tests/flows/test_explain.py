"""What is known of a document or a chunk, or why nothing is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.reasons import REJECTIONS
from penstock.flows import cli
from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.explain import ChunkFacts, Copy, Explanation, explained, near
from penstock.flows.commands.explain_text import explanation
from penstock.flows.commands.meant import Folder, meant
from penstock.index.types import DocState, Manifest, Membership, SourceState
from tests.flows.conftest import World

Explain = Callable[..., Any]


@pytest.fixture
def explain(world: World, capsys: pytest.CaptureFixture[str]) -> Explain:
    """`penstock explain WORD --json`; a text where it ends with 2."""

    def run(word: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert cli.main(["--home", str(world.home), "explain", word, "--json"]) == code
        said = json.loads(capsys.readouterr().out)
        return said["error"]["message"] if code else said

    return run


def test_an_indexed_document_has_every_fact(world: World, explain: Explain) -> None:
    """Source, version, times, digest, parser, model, chunks with their places, and the replicas that publish it."""
    world.write("a.md", "# Travel\n\nBook early.\n\n# Meals\n\nKeep receipts.")
    world.ingest()
    said = explain("docs/a.md")
    assert (said["uri"], said["source"], said["status"], said["served"]) == ("docs/a.md", "docs", "indexed", True)
    assert (said["source_type"], said["binding"]) == ("files", str(world.docs))
    assert said["version"] and said["modified"] and said["fetched_at"] and said["run"] and len(said["content"]) == 64
    assert said["size"] == (world.docs / "a.md").stat().st_size
    assert said["kind"] == "markdown" and said["parser"].startswith("markdown/")
    assert {"weights", "chunker", "chunk_tokens"} <= said["identity"].keys()
    chunk, after = said["chunks"]
    assert chunk["start"] == 0 and chunk["tokens"] > 3 and chunk["ordinal"] == 0 and chunk["text"] == ""
    assert (chunk["heading"], after["heading"], after["ordinal"]) == (["Travel"], ["Meals"], 1)
    assert said["segments"][chunk["segment"]]["device"] == "fake"
    assert [(one["id"], one["publishes"]) for one in said["replicas"]] == [("0", True), ("1", True)]
    assert (said["reason"], said["next"], said["asked"]) == ("", "", "")


def test_a_chunk_is_found_by_its_id_or_the_beginning_of_it(world: World, explain: Explain) -> None:
    """And comes with its text; too short a beginning, or one of several ids, is refused."""
    world.write("a.txt", "one passage")
    world.write("b.txt", "another passage")
    world.ingest()
    (chunk,) = explain("docs/b.txt")["chunks"]
    for word in (chunk["id"], chunk["id"][:8], chunk["id"][:12].upper() + "…"):
        said = explain(word)
        assert (said["uri"], said["asked"]) == ("docs/b.txt", chunk["id"])
        assert said["chunks"] == [{**chunk, "text": "another passage"}]
    assert "no document, file or chunk" in explain(chunk["id"][:7], 2)
    assert "no document, file or chunk" in explain("f" * 32, 2)


def test_a_path_means_the_document_that_it_became(
    world: World, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute, relative, through a link to the folder, or of a lone file; also when the file is gone by now."""
    file = world.write("deep/a.txt", "text")
    lone = world.home.parent / "lone.txt"
    lone.write_text("alone")
    world.ingest(world.docs, lone)
    (world.home.parent / "link").symlink_to(world.docs)
    monkeypatch.chdir(world.docs / "deep")
    for word in (str(file), "a.txt", "../deep/a.txt", str(world.home.parent / "link" / "deep" / "a.txt")):
        assert explain(word)["uri"] == "docs/deep/a.txt"
    assert explain(str(lone))["uri"] == f"adhoc{lone}"
    file.unlink()
    assert explain(str(file))["uri"] == "docs/deep/a.txt"


def test_a_rejected_document_says_why_and_what_to_do(world: World, explain: Explain) -> None:
    """The reason with its meaning; no command where the file itself must change."""
    world.write("a.txt", " \n")
    world.write("b.pdf", "%PDF-1.4 not really")
    world.ingest()
    said = explain("docs/a.txt")
    assert (said["status"], said["reason"], said["served"], said["chunks"]) == ("rejected", "empty", False, [])
    assert said["meaning"] == "there is nothing but white space in the file"
    assert explain("docs/b.pdf")["next"] == "mend the file: the next ingest sees that it changed"


def test_a_failed_document_of_which_an_older_version_is_served(
    world: World, explain: Explain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are said, with the attempts, the next try and the command that waits for nothing."""
    from penstock.connectors.sources.files import FilesSource
    from penstock.connectors.types import RetryLater

    file = world.write("a.txt", "the first version")
    world.ingest()
    file.write_text("the second version, which cannot be read")

    def refuse(self: object, item: object) -> None:
        raise RetryLater("no right to read \x1b[31mit", reason="unreadable")

    monkeypatch.setattr(FilesSource, "fetch", refuse)
    for _ in range(2):
        world.ingest()
    said = explain("docs/a.txt")
    assert (said["status"], said["served"], said["reason"], said["attempts"]) == ("failed", True, "unreadable", 2)
    assert said["meaning"] == "the operating system did not let us read it"
    assert said["next"] == f"penstock retry --uri docs/a.txt --home {world.home}"
    assert cli.main(["--home", str(world.home), "explain", "docs/a.txt"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("docs/a.txt: failed, unreadable; an older version of it is served by version ")
    assert "2 attempts, next 20" in shown and "\x1b" not in shown


def test_what_is_not_known_says_why_as_well_as_can_be_told(world: World, explain: Explain) -> None:
    """New, left out, gone, a folder, a source, in no source; one line, and exit code 2."""
    world.write("a.txt", "text")
    world.write("deep/b.txt", "text")
    world.ingest()
    new = world.write("new.txt", "later")
    world.write(".git/c.txt", "never")
    other = world.home.parent / "other.txt"
    other.write_text("elsewhere")
    assert "ended before its turn; `penstock ingest docs` takes it" in explain(str(new), 2)
    assert "left out by a pattern" in explain("docs/.git/c.txt", 2)
    assert "never listed: no such file" in explain("docs/nothing.txt", 2)
    assert "never listed: no such file" in explain(str(world.docs / "nothing.txt"), 2)
    assert "docs/deep is a folder" in explain(str(world.docs / "deep"), 2)
    assert explain("docs", 2) == "docs is a source; give one of its documents; near: docs/a.txt, docs/deep/b.txt"
    assert "lies in no source" in explain(str(other), 2)
    assert explain("elsewhere/B.TXT", 2).endswith("; near: docs/deep/b.txt")
    assert "no document, file or chunk" in explain("gr\udcc3", 2)


def test_a_pattern_of_the_configuration_is_why(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in a source that is configured and was never ingested: then it is new."""
    world.write("a.txt", "text")
    world.write("a.log", "noise")
    more = world.docs.parent / "more"
    more.mkdir()
    (more / "x.txt").write_text("x")
    config = world.home.parent / "p.toml"
    config.write_text(f'home = "{world.home}"\n[sources.docs]\npath = "{world.docs}"\nexclude = ["*.log"]\n')
    world.ingest("docs", config=str(config))
    with config.open("a") as out:
        out.write(f'[sources.more]\npath = "{more}"\n')
    for word, said in (("docs/a.log", "left out by a pattern"), (str(more / "x.txt"), "`penstock ingest more` takes")):
        capsys.readouterr()
        assert cli.main(["--config", str(config), "explain", word]) == 2
        shown = capsys.readouterr()
        assert said in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_a_replica_that_lags_and_one_that_is_gone_are_told_apart(world: World, explain: Explain) -> None:
    """From the one that has it, everything can still be read."""
    world.write("a.txt", "text")
    world.ingest()
    before = world.home.parent / "before"
    shutil.copytree(world.home / "replicas" / "1", before)
    world.write("b.txt", "more text")
    world.ingest()
    shutil.rmtree(world.home / "replicas" / "1")
    gone = explain("docs/b.txt")["replicas"]
    assert [(one["publishes"], one["reachable"]) for one in gone] == [(True, True), (False, False)]
    os.rename(before, world.home / "replicas" / "1")
    ahead, behind = explain("docs/b.txt")["replicas"]
    assert ahead["publishes"] and not behind["publishes"] and behind["version"] < ahead["version"]
    assert behind["lacks_bytes"] > 0


def test_orphaned_and_held_sources_are_said() -> None:
    """So is everything hostile in a harmless way: no value of a document can drive the terminal."""
    evil = "\x1b]0;x\x07\n"
    said = Explanation(
        uri=f"s/{evil}", source=f"s{evil}", status="failed", served=True, index_version=3, source_type="files",
        binding=evil, orphaned=True, held=evil, reason=evil, meaning=evil, detail=evil * 200, version=evil, run=evil,
        content=evil, kind=evil, parser=evil, title=evil, labels=(evil,), metadata={evil: evil}, modified=1e300,
        next=evil, identity={evil: evil}, segments={evil: {evil: evil}}, chunk_count=30,
        chunks=[ChunkFacts(evil, 1, (evil,), 0, 9, 3, evil, 0, evil)] * 30,
        replicas=[Copy(evil, evil, False, 0, False, 0, evil), Copy("1", evil, True, 2, False, 9)],
    )  # fmt: skip
    shown = explanation(said, 0.0)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "files, orphaned, held:" in shown and "and 10 more" in shown
    assert "lags: version 2, lacks 9 B" in shown and "cannot be reached" in shown


class FakeReader:
    """Knows a state and what `explained` asks of it; nothing of it is served."""

    version = 7

    def __init__(self, state: DocState, source: SourceState) -> None:
        self.manifest = Manifest(2, "", 7, 1, "", "", 0.0, Membership((), 1), sources={source.name: source})
        self.state = state

    def passages(self, uris: list[str]) -> list[Any]:
        return []

    def find_states(self, uris: list[str]) -> dict[str, DocState]:
        return {self.state.uri: self.state} if self.state.uri in uris else {}

    def states(self) -> list[DocState]:
        return [self.state]

    def chunks(self, beginning: str) -> list[Any]:
        return [object(), object()]


@pytest.mark.parametrize(
    ("status", "reason", "locator", "orphans", "said"),
    [
        ("failed", "timed_out", "1", [], "penstock retry --uri 'wiki/A page' --home H"),
        ("failed", "timed_out", "", [], "penstock ingest wiki --home H"),
        ("failed", "timed_out", "1", ["wiki"], "describe [sources.wiki] in the configuration again"),
        (
            "rejected",
            "too_large",
            "1",
            [],
            "(or [sources.wiki] max_mb); then: penstock retry --uri",
        ),
        ("rejected", "no_text", "1", [], "[parse] route; then: penstock retry --uri"),
        ("rejected", "damaged", "1", [], "mend the file"),
        ("rejected", "a word of tomorrow", "1", [], "mend the file"),
        ("indexed", "", "", [], "3 of its chunks are missing: penstock verify --home H"),
    ],
)
def test_what_is_not_indexed_says_what_a_person_can_do(
    status: str, reason: str, locator: str, orphans: list[str], said: str
) -> None:
    """With the command where there is one: for a reason that a setting mends, nothing tries again by itself."""
    state = DocState("wiki/A page", "wiki", status, reason=reason, locator=locator, chunks=3)
    reader: Any = FakeReader(state, SourceState("wiki", "mediawiki", "https://wiki"))
    assert said in explained(reader, state, [], orphans, " --home H").next


def test_every_rejection_has_a_remedy_that_can_be_said() -> None:
    """Braces in it would be a mistake that only a person in need would find."""
    for reason in REJECTIONS:
        state = DocState("s/a", "s", "rejected", reason=reason)
        reader: Any = FakeReader(state, SourceState("s", "files", "/s"))
        found = explained(reader, state, [], [], "")
        assert found.next and "{" not in found.next and found.meaning


def test_the_beginning_of_several_ids_is_refused_and_names_cannot_drive_the_terminal() -> None:
    """Neither those that were typed nor those of documents."""
    state = DocState("wiki/\x1b[31m/a.md", "wiki", "failed")
    reader: Any = FakeReader(state, SourceState("wiki", "mediawiki", "https://wiki"))
    folder = Folder(None, [], lambda: 0.0)
    with pytest.raises(UsageError, match="begins the ids of several chunks"):
        meant("0123456789", reader, reader.manifest.sources, lambda name: folder)
    with pytest.raises(UsageError) as refused:
        meant("wiki/\x1b[32m/a.md", reader, reader.manifest.sources, lambda name: folder)
    assert "never listed by the source wiki" in str(refused.value) and "near: " in str(refused.value)
    assert str(refused.value).isprintable()


def test_near_matches_are_the_likeliest_and_few() -> None:
    """What lies below, then the same end, the same name, the same stem."""
    uris = ["s/x/a.md", "s/y/a.md", "s/a.txt", "s/other.md", "t/b", *(f"u/{n}/zzz.md" for n in range(999))]
    assert near("x/a.md", uris) == ["s/x/a.md", "s/y/a.md", "s/a.txt"]
    assert near("T/", uris) == ["t/b"]
    assert near("nothing", uris) == []
    assert near("zzz.md", uris, most=2) == ["u/0/zzz.md", "u/1/zzz.md"]


def test_docs_name_every_field_of_an_explanation() -> None:
    """docs/cli.md is the JSON contract."""
    section = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8").split("\n## explain\n")[1]
    section = section.split("\n## ")[0]
    for kind in (Explanation, ChunkFacts, Copy):
        assert not {field.name for field in msgspec.structs.fields(kind) if f"`{field.name}`" not in section}


def test_nothing_is_explained_where_nothing_was_ingested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no home is made."""
    assert cli.main(["--home", str(tmp_path / "home"), "explain", "x"]) == 2
    cli.main(["--home", str(tmp_path / "home"), "init"])
    assert cli.main(["--home", str(tmp_path / "home"), "explain", "x"]) == 2
    assert "holds no document yet" in capsys.readouterr().err
