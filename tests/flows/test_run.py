"""A whole run: everything but the model is real."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from penstock.connectors.sources.files import FilesSource
from penstock.connectors.types import Fetched, Item, RetryLater
from penstock.embed.models import UnknownModel
from penstock.flows import model_wiring, wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.index.commits.commit import Delta
from penstock.index.errors import WrongIndex
from tests.fakes.encoder import HashEncoder
from tests.flows.conftest import World


def test_a_folder_becomes_searchable(world: World) -> None:
    """Every file of a folder is indexed, its uri ending in its path relative to the folder."""
    world.write("a.txt", "alpha text")
    world.write("deep/b.md", "# B\n\nbeta text")
    account = world.ingest()
    assert (account.listed, account.indexed, account.exit_code()) == (2, 2, 0)
    assert {uri for uri, _ in world.rows()} == {"docs/a.txt", "docs/deep/b.md"}


def test_unchanged_files_cost_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run fetches nothing, loads nothing, commits nothing."""
    world.write("a.txt", "alpha")
    world.write("empty.txt", "")
    first = world.ingest()
    monkeypatch.setattr(model_wiring, "encoders", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr(wiring, "parser_pool", lambda settings: pytest.fail("a parser was started"))
    second = world.ingest()
    assert (second.unchanged, second.rejected, second.indexed, second.version) == (1, 1, 0, first.version)


def test_a_touched_file_is_not_embedded_again(world: World) -> None:
    """A new version token with the same content is unchanged after all, and remembered as seen."""
    path = world.write("a.txt", "alpha")
    world.ingest()
    before = len(world.encoder.embedded)
    os.utime(path, (1, 1))
    account = world.ingest()
    assert (account.unchanged, account.indexed, len(world.encoder.embedded)) == (1, 0, before)
    assert world.rows() == {("docs/a.txt", "alpha")}
    assert world.ingest().version == account.version


def test_a_changed_file_replaces_its_chunks(world: World) -> None:
    """Never two versions of one document."""
    world.write("a.txt", "old words")
    world.ingest()
    world.write("a.txt", "new words entirely")
    account = world.ingest()
    assert (account.indexed, world.rows()) == (1, {("docs/a.txt", "new words entirely")})


def test_a_removed_file_goes_away(world: World) -> None:
    """What the folder no longer holds is no longer served."""
    for number in range(5):
        world.write(f"{number}.txt", f"text {number}")
    world.ingest()
    (world.docs / "3.txt").unlink()
    account = world.ingest()
    assert account.deleted == 1
    assert {uri for uri, _ in world.rows()} == {f"docs/{n}.txt" for n in (0, 1, 2, 4)}


def test_an_emptied_folder_is_withheld(world: World) -> None:
    """An unmounted disk looks like an empty folder: nothing is deleted, and the run says so."""
    path = world.write("a.txt", "alpha")
    world.ingest()
    path.unlink()
    account = world.ingest()
    assert (account.withheld, account.deleted, account.exit_code()) == (1, 0, 1)
    assert len(world.rows()) == 1
    assert "--confirm-deletions 1" in account.messages[0]
    assert world.ingest(confirm_deletions=1).deleted == 1
    assert world.rows() == set()


def test_bad_files_are_rejected_and_the_rest_goes_on(world: World) -> None:
    """Each bad file ends with a reason; rejections alone are no failure of the run."""
    world.write("good.txt", "good")
    world.write("empty.txt", " \n ")
    (world.docs / "bad.pdf").write_bytes(b"%PDF-1.7 not really")
    (world.docs / "noise.bin").write_bytes(bytes(range(256)) * 40)
    account = world.ingest()
    assert (account.indexed, account.rejected, account.exit_code()) == (1, 3, 0)
    assert sum(account.reasons["rejected"].values()) == 3


def test_a_changed_file_that_cannot_be_parsed_goes_away(world: World) -> None:
    """What the document says now is not text: its old text must not answer."""
    world.write("a.txt", "alpha")
    world.write("b.txt", "beta")
    world.ingest()
    world.write("a.txt", "")
    world.ingest()
    assert {uri for uri, _ in world.rows()} == {"docs/b.txt"}


def test_a_file_that_cannot_be_read_fails_and_keeps_what_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is not a change: the old text is served until there is a new one."""
    world.write("a.txt", "alpha")
    world.ingest()
    world.write("a.txt", "changed")

    def unreachable(self: FilesSource, item: Item) -> Fetched:
        raise RetryLater("stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(FilesSource, "fetch", unreachable)
        account = world.ingest()
    assert (account.failed, account.reasons, account.exit_code()) == (1, {"failed": {"unreachable": 1}}, 1)
    assert world.rows() == {("docs/a.txt", "alpha")}
    assert world.ingest().indexed == 1
    assert world.rows() == {("docs/a.txt", "changed")}


def test_a_part_of_a_source_infers_no_deletion(world: World) -> None:
    """Ingesting one file of a known folder leaves the others alone."""
    one = world.write("1.txt", "one")
    two = world.write("2.txt", "two")
    world.ingest()
    two.unlink()
    world.write("1.txt", "one more")
    account = world.ingest(one)
    assert (account.listed, account.indexed, account.deleted) == (1, 1, 0)
    assert len(world.rows()) == 2


def test_other_sources_stay(world: World, tmp_path: Path) -> None:
    """A run over one folder does not touch what came from another, nor from lone files."""
    world.write("a.txt", "alpha")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("xi")
    lone = tmp_path / "lone.txt"
    lone.write_text("lambda")
    world.ingest()
    world.ingest(other, lone)
    assert {text for _, text in world.rows()} == {"alpha", "xi", "lambda"}
    assert world.ingest(other).unchanged == 1


def test_a_limit_defers_and_the_next_run_goes_on(world: World) -> None:
    """--limit N does N documents, counts the rest as deferred and ends with 1; then the rest is done."""
    for number in range(5):
        world.write(f"{number}.txt", f"text {number}")
    first = world.ingest(limit=2)
    assert (first.indexed, first.deferred, first.exit_code()) == (2, 3, 1)
    second = world.ingest()
    assert (second.indexed, second.unchanged, second.exit_code()) == (3, 2, 0)


def test_a_dry_run_writes_nothing(world: World) -> None:
    """A dry run says what would be done and leaves no trace."""
    world.write("a.txt", "alpha")
    account = world.ingest(dry_run=True)
    assert (account.listed, account.deferred) == (1, 1)
    assert not world.home.exists()


def test_a_run_whose_device_dies_goes_on_where_it_was(world: World) -> None:
    """What was embedded before the device died is in the spool and is not embedded again."""
    for number in range(40):
        world.write(f"{number:02d}.txt", f"text {number}")
    world.encoder = HashEncoder(dies_after=5)
    with pytest.raises(RuntimeError, match="device"):
        world.ingest()
    embedded = len(world.encoder.embedded)
    world.encoder = HashEncoder()
    account = world.ingest()
    assert account.resumed == 40 and embedded == 20
    assert len(world.encoder.embedded) == 20
    assert account.tokens == account.taken_over_tokens + account.embedded_tokens > account.taken_over_tokens > 0
    assert len(world.rows()) == 40


def test_a_prepared_file_that_changed_meanwhile_is_prepared_again(world: World) -> None:
    """The spool is used for what is still true and for nothing else."""
    for number in range(4):
        world.write(f"{number}.txt", f"text {number}")
    world.encoder = HashEncoder(dies_after=0)
    with pytest.raises(RuntimeError):
        world.ingest()
    world.write("1.txt", "different now")
    (world.docs / "2.txt").unlink()
    world.encoder = HashEncoder()
    account = world.ingest()
    assert (account.resumed, account.indexed) == (2, 3)
    assert {text for _, text in world.rows()} == {"text 0", "different now", "text 3"}


def test_a_copied_home_with_its_source_re_bound_embeds_nothing(world: World, tmp_path: Path) -> None:
    """A home is a folder: copied elsewhere, its documents elsewhere too, it goes on."""
    world.write("a.txt", "alpha")
    world.write("b.txt", "beta")
    world.ingest()
    shutil.copytree(world.home, tmp_path / "copy")
    moved = tmp_path / "moved"
    shutil.copytree(world.docs, moved)
    shutil.rmtree(world.docs)
    shutil.rmtree(world.home)
    world.home = tmp_path / "copy"
    home = homes.require(world.home)
    with wiring.open_writer(load(None), home, print) as writer:
        head = writer.head()
        source = msgspec.structs.replace(head.sources["docs"], binding=str(moved))
        writer.commit(Delta(head.version, [], sources={"docs": source}))
    world.encoder = HashEncoder(dies_after=0)
    account = world.ingest("docs")
    assert (account.unchanged, account.indexed) == (2, 0)


def test_an_index_of_another_model_is_refused(world: World, tmp_path: Path) -> None:
    """Vectors of another identity never meet: exit 2, and the message says what differs."""
    world.write("a.txt", "alpha")
    world.ingest()
    config = tmp_path / "other.toml"
    config.write_text("[embed]\nchunk_tokens = 64\noverlap_tokens = 8\n")
    with pytest.raises(WrongIndex, match="chunk_tokens 256 there, 64 here"):
        world.ingest(config=str(config))


def test_an_index_cut_by_other_rules_is_refused_with_the_ways_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No setting brings the old rules back, so the message does not send anybody to the settings."""
    world.write("a.txt", "alpha")
    world.ingest()
    monkeypatch.setattr("penstock.embed.chunking.chunk.VERSION", "99")
    with pytest.raises(WrongIndex, match=r"chunker 2 there, 99 here.*can be searched.*another --home"):
        world.ingest()


def test_nothing_named_and_nothing_configured_is_refused(world: World) -> None:
    """A run without any source says how to name one."""
    from penstock.flows.answers.progress import Quiet
    from penstock.flows.runs.accounting import IngestRequest
    from penstock.flows.runs.launch import ingest

    with pytest.raises(UsageError, match="nothing to ingest"):
        ingest(IngestRequest(home=str(world.home)), Quiet())


def test_metadata_and_labels_of_a_source_reach_every_hit(world: World, tmp_path: Path) -> None:
    """What the configuration says of a source is carried to each chunk."""
    world.write("a.txt", "alpha")
    config = tmp_path / "penstock.toml"
    config.write_text(f'[sources.docs]\npath = "{world.docs}"\nmetadata = {{team = "wing"}}\n')
    world.ingest("docs", config=str(config))
    from penstock.index.reading.reader import Reader

    with Reader.open(world.home) as reader:
        assert reader.search(world.encoder.encode_queries(["q"]), 1)[0][0].metadata["team"] == "wing"


def test_two_runs_of_one_source_take_turns(world: World) -> None:
    """The second waits for the first and then finds nothing to do: nothing is embedded twice."""
    for number in range(12):
        world.write(f"{number:02d}.txt", f"text {number}")
    world.encoder = HashEncoder(seconds=0.05, rows=2)
    with ThreadPoolExecutor(2) as pool:
        accounts = [job.result() for job in [pool.submit(world.ingest) for _ in range(2)]]
    assert sorted(account.indexed for account in accounts) == [0, 12]
    assert len(world.encoder.embedded) == 12


def test_a_part_leaves_a_left_over_shard_for_the_whole(world: World) -> None:
    """A shard that an interrupted run prepared is not thrown away because a single file was asked for."""
    world.write("first.txt", "known already")
    world.ingest()
    for number in range(4):
        world.write(f"{number}.txt", f"text {number}")
    world.encoder = HashEncoder(dies_after=0)
    with pytest.raises(RuntimeError):
        world.ingest()
    world.encoder = HashEncoder()
    assert world.ingest(world.docs / "1.txt").indexed == 1
    account = world.ingest()
    assert (account.resumed, account.unchanged) == (3, 2)


def test_a_home_inside_its_source_is_not_read_into_itself(world: World) -> None:
    """The index is no document: the second run of a folder that holds its own home finds nothing to do."""
    world.write("a.txt", "alpha")
    world.home = world.docs / "idx"
    first = world.ingest()
    second = world.ingest()
    assert (first.listed, second.listed, second.unchanged, second.version) == (1, 1, 1, first.version)


def test_tokens_count_what_was_indexed_and_embedded_tokens_what_was_paid(world: World) -> None:
    """After an interruption the two differ by what the interrupted run had embedded already."""
    for number in range(40):
        world.write(f"{number:02d}.txt", f"text {number}")
    world.encoder = HashEncoder(dies_after=5)
    with pytest.raises(RuntimeError):
        world.ingest()
    world.encoder = HashEncoder()
    account = world.ingest()
    assert account.tokens == 2 * account.embedded_tokens > 0


def test_a_source_that_holds_another_is_said(world: World) -> None:
    """Files that two sources list are indexed twice, and the run says so."""
    inner = world.write("inner/a.txt", "alpha").parent
    world.ingest(inner)
    assert any("inner" in message and "twice" in message for message in world.ingest().messages)
    assert world.ingest().messages == []


def test_an_unknown_model_makes_no_home(world: World, tmp_path: Path) -> None:
    """What cannot work leaves nothing behind."""
    world.write("a.txt", "alpha")
    config = tmp_path / "m.toml"
    config.write_text('[embed]\nmodel = "/no/such/model"\n')
    with pytest.raises(UnknownModel):
        world.ingest(config=str(config))
    assert not world.home.exists()


def test_a_lone_file_that_is_gone_goes_away_when_it_is_named(world: World, tmp_path: Path) -> None:
    """Nothing is inferred of lone files; naming one that is gone says that it is meant."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("one")
    two.write_text("two")
    world.ingest(one, two)
    one.unlink()
    assert world.ingest(one).deleted == 1
    assert {text for _, text in world.rows()} == {"two"}
    with pytest.raises(UsageError, match="no such file"):
        world.ingest(tmp_path / "never.txt")
