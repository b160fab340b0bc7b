"""A bad ingest is undone, stays undone through scheduled runs, and ends when somebody says so."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors import registry
from penstock.flows import cli, model_wiring, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.runs import launch
from penstock.flows.runs.accounting import Accounting, IngestRequest, Retry
from penstock.index.care.rollback import rollback
from penstock.index.reading.reader import Reader
from tests.fakes import source as fake
from tests.fakes.encoder import HashEncoder
from tests.flows.conftest import World
from tests.flows.test_report import flip

Rows = set[tuple[str, str]]


class Two:
    """A home with two configured sources: `far`, which has a changes feed, and `near`, which has none."""

    def __init__(self, world: World, config: Path, patch: pytest.MonkeyPatch) -> None:
        self.world, self.config, self.now = world, config, 1_800_000_000.0
        self.far, self.near = fake.at("far"), fake.at("near")
        patch.setattr(wiring, "clock", lambda: self.now)
        config.write_text(
            '[sources.far]\ntype = "fake"\nfed = true\n[sources.near]\ntype = "fake"\n'
            "[keep]\nversions = 100\nhours = 10000\n"
        )

    def ingest(self, *targets: str, **options: Any) -> Accounting:
        """A run of these; of all that are configured where none is named, as a schedule would."""
        self.now += 10.0
        for place in (self.far, self.near):
            place.listings.clear()
            place.fetched.clear()
        home, config = str(self.world.home), str(self.config)
        return launch.ingest(IngestRequest(home=home, config=config, targets=targets, **options), Quiet())

    def version(self) -> int:
        with Reader.open(self.world.home) as reader:
            return reader.version

    def embedded(self) -> int:
        return len(self.world.encoder.embedded)


@pytest.fixture
def two(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    yield from made(world, tmp_path, monkeypatch)


def made(world: World, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Two]:
    patch.setitem(registry._BUILT_IN, "fake", "tests.fakes.source")
    registry.connector.cache_clear()
    fake.PLACES.clear()
    yield Two(world, folder / "penstock.toml", patch)
    registry.connector.cache_clear()


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(two: Two, capsys: pytest.CaptureFixture[str]) -> Run:
    def one(*words: str) -> tuple[int, dict[str, Any]]:
        code = cli.main([*words, "--home", str(two.world.home), "--config", str(two.config), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return one


@dataclass(frozen=True)
class Past:
    """A home after four good ingests and a bad one: the version after the fourth, and what it served."""

    home: Path
    places: dict[str, fake.Place]
    now: float
    good: int
    rows: Rows


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder = tmp_path_factory.mktemp("past")
    with pytest.MonkeyPatch.context() as patch:
        for two in made(World(folder, patch), folder, patch):
            good, rows = _live(two)
            yield Past(two.world.home, deepcopy(fake.PLACES), two.now, good, rows)


def _live(two: Two) -> tuple[int, Rows]:
    two.near.put("n.md", "near")
    two.far.put("a.md", "alpha")
    two.ingest()
    two.far.put("b.md", "beta")
    two.ingest()
    two.far.put("a.md", "alpha two")
    two.far.put("c.md", "gamma")
    two.ingest()
    two.far.drop("b.md")
    two.far.put("d.md", "delta")
    two.ingest()
    good, rows = two.version(), two.world.rows()
    two.far.put("a.md", "ruined")
    two.far.drop("c.md")
    two.far.put("e.md", "rubbish")
    two.ingest()
    assert two.world.rows() != rows
    return good, rows


@pytest.fixture
def lived(past: Past, two: Two) -> tuple[Two, int, Rows]:
    """A copy of that home, and of its sources."""
    shutil.copytree(past.home, two.world.home)
    for name, place in deepcopy(past.places).items():
        vars(fake.at(name)).update(vars(place))
    two.now = past.now
    return two, past.good, past.rows


def test_a_bad_ingest_stays_undone_until_somebody_says_so(lived: tuple[Two, int, Rows], run: Run) -> None:
    """Through two scheduled runs; then there is exactly what the source has now, and only that is paid for."""
    two, good, rows = lived
    bad, embedded = two.version(), two.embedded()
    code, said = run("rollback", "--to", str(good), "--yes")
    assert (code, said["version"], said["held"]) == (0, bad + 1, ["far"])
    assert said["sources"] == {"far": {"back": 1, "away": 1, "changed": 1}}
    assert two.world.rows() == rows and two.embedded() == embedded
    for number in range(2):
        two.near.put(f"n{number}.md", f"also near {number}")
        two.far.put(f"f{number}.md", f"far {number}")
        account = two.ingest()
        assert (account.held, account.held_asked, account.exit_code(), account.indexed) == (1, 0, 0, 1)
        assert two.far.listings == [] and account.deleted == 0
        (line,) = [line for line in account.messages if "is held" in line]
        assert f"rolled back to version {good} (" in line and "`penstock sources resume far`" in line
        assert {row for row in two.world.rows() if row[0].startswith("far/")} == rows - {("near/n.md", "near")}
    two.far.put("a.md", "alpha mended")
    embedded = two.embedded()
    assert run("sources", "resume", "far")[1]["resumed"] == ["far"]
    account = two.ingest()
    assert two.far.listings[0].startswith("since"), "the cursor of the old version tells all that came after it"
    assert (account.held, account.exit_code()) == (0, 0)
    now = {(f"far/{name}", held.text) for name, held in two.far.held.items()}
    assert {row for row in two.world.rows() if row[0].startswith("far/")} == now
    assert two.embedded() - embedded == 3, "what was embedded before the rollback is in the cache"
    assert two.ingest().unchanged == len(two.near.held)


def test_a_feed_that_does_not_reach_back_is_listed_instead(lived: tuple[Two, int, Rows], run: Run) -> None:
    """The cursor that the rollback brought back may be too old by then."""
    two, good, _ = lived
    run("rollback", "--to", f"v{good}", "--yes")
    run("sources", "resume", "--all")
    two.far.expired = True
    two.ingest()
    assert two.far.listings[-1] == "full"
    assert {row for row in two.world.rows() if row[0].startswith("far/")} == {
        (f"far/{name}", held.text) for name, held in two.far.held.items()
    }


def test_who_asks_for_a_held_source_by_name_is_told_and_gets_1(lived: tuple[Two, int, Rows], run: Run) -> None:
    """Ingest, plan, retry of the source or of a document in it; a retry of all is told, too."""
    two, _, _ = lived
    two.far.put("bad.md", "text")
    two.far.faults["bad.md"] = [fake.busy()()]
    two.ingest()
    failed = two.version()
    two.far.put("a.md", "even worse")
    two.ingest()
    run("rollback", "--to", str(failed), "--yes")
    before = two.version()
    for asked, account in (
        (True, two.ingest("far")),
        (True, two.ingest("far", retry=Retry("far"))),
        (True, two.ingest(retry=Retry(uris=("far/bad.md",)))),
        (False, two.ingest(retry=Retry())),
        (True, two.ingest("far", dry_run=True)),
    ):
        assert (account.held, bool(account.held_asked)) == (1, asked)
        assert account.exit_code() == int(asked) and len(account.messages) == 1
        assert two.far.fetched == [] and two.far.listings == []
    assert two.version() == before
    code, said = run("failures")
    assert [(each["uri"], each["held"]) for each in said["failures"]] == [("far/bad.md", True)]
    code, said = run("ingest", "far")
    assert (code, said["held_asked"]) == (1, 1)


def test_status_says_first_what_is_held_and_what_lets_it_go(lived: tuple[Two, int, Rows], run: Run) -> None:
    """The verdict, the command, a warning, and the source itself."""
    two, good, _ = lived
    run("rollback", "--to", str(good), "--yes")
    code, said = run("status")
    assert code == 0 and said["verdict"].startswith(f"Held: source far, rolled back to version {good} (")
    assert said["next"].startswith("mend what was wrong, then: penstock sources resume far") and not said["healthy"]
    assert any("penstock sources resume far" in line for line in said["warnings"])
    assert [bool(source["held"]) for source in said["sources"]] == [True, False]
    assert run("sources", "resume", "far")[0] == 0
    assert "Held" not in run("status")[1]["verdict"]
    assert run("sources", "resume", "far")[1] == {"resumed": [], "version": two.version()}
    assert run("sources", "resume")[0] == run("sources", "resume", "far", "--all")[0] == 2


def test_what_is_lost_in_a_held_source_is_said_until_it_is_embedded_again(
    lived: tuple[Two, int, Rows], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """By repair, by each run, which does not end with 0, by status before anything else, and by explain."""
    two, good, rows = lived
    assert run("rollback", "--to", str(good), "--yes")[0] == 0
    with Reader.open(two.world.home) as reader:
        held = reader.manifest
    for segment in held.spaces[held.live].segments:
        for blob in two.world.home.glob(f"replicas/*/blobs/*/{segment.rows.name}"):
            flip(blob)
    where = ["--home", str(two.world.home), "--config", str(two.config)]
    assert cli.main(["repair", *where]) == 1
    assert "Next: mend what was held, then: penstock sources resume far" in capsys.readouterr().out
    code, said = run("ingest")
    assert code == 1 and said["held_lost"] == len([uri for uri, _ in rows if uri.startswith("far/")]) > 0
    assert any("of its documents are lost" in line and "sources resume far" in line for line in said["messages"])
    code, said = run("status")
    assert said["verdict"].startswith("Lost: ") and "penstock sources resume far" in said["next"]
    lost = run("failures")[1]["failures"][0]["uri"]
    assert cli.main(["explain", lost, *where]) == 0
    out = capsys.readouterr().out
    assert "when its source goes on: it is held" in out and "then: penstock sources resume far" in out
    assert "with the next run" not in out
    assert run("sources", "resume", "far")[0] == 0
    code, said = run("ingest")
    assert (code, said["held_lost"], run("failures")[1]["failures"]) == (0, 0, [])


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    lived: tuple[Two, int, Rows], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for programs; going back to what there is, is nothing to do."""
    two, good, _ = lived
    before = two.version()
    code, said = run("rollback", "--to", str(good), "--dry-run")
    assert (code, said["version"], said["dry_run"], said["held"]) == (0, before, True, ["far"])
    cli.main(["rollback", "--to", str(good), "--dry-run", "--home", str(two.world.home), "--config", str(two.config)])
    shown = capsys.readouterr().out
    assert f"Going back to version {good} (" in shown and re.search(r"far +1 +1 +1", shown)
    assert run("rollback", "--to", str(before))[1]["sources"] == {}, "no question where there is nothing to do"
    assert two.version() == before


def test_a_time_is_the_version_that_was_the_newest_then(lived: tuple[Two, int, Rows], run: Run) -> None:
    """The bad ingest came ten seconds after the last good one."""
    two, good, rows = lived
    two.now += 600
    assert run("rollback", "--to", "9m", "--dry-run")[1]["to"] == two.version()
    before = "2027-01-15T08:00:45"
    assert run("rollback", "--to", before, "--yes")[1]["to"] == good
    assert two.world.rows() == rows


def test_what_is_not_kept_is_refused_with_what_is(lived: tuple[Two, int, Rows], run: Run) -> None:
    """Expired, not there yet, before everything, and no time at all; DR stores are named where there are any."""
    two, _, _ = lived
    before = two.version()
    two.config.write_text(
        two.config.read_text().replace("versions = 100\nhours = 10000", "versions = 2\nhours = 0.0001")
    )
    two.now += 3600
    assert run("collect")[0] == 0
    for word in ("1", "v99", "2020-01-01"):
        code, said = run("rollback", "--to", word, "--yes")
        assert (code, said["error"]["code"]) == (2, "usage")
        assert re.search(rf"kept are version {before - 1} \(2027.* UTC\) to {before} \(", said["error"]["message"])
        assert "penstock restore" not in said["error"]["message"]
    assert run("rollback", "--to", "yesterday", "--yes")[0] == 2
    two.config.write_text(two.config.read_text() + f'[snapshots]\nstore = "{two.world.home.parent / "dr"}"\n')
    assert "penstock restore --at" in run("rollback", "--to", "1", "--yes")[1]["error"]["message"]
    assert two.version() == before


def test_it_asks_and_does_nothing_without_an_answer(
    lived: tuple[Two, int, Rows], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is to be typed; where nobody can type, --yes is needed."""
    two, good, rows = lived
    before = two.version()
    code, said = run("rollback", "--to", str(good))
    assert code == 2 and "documents that come back 1, go away 1, change 1; say --yes" in said["error"]["message"]
    words = ["rollback", "--to", str(good), "--home", str(two.world.home), "--config", str(two.config)]
    assert cli.main(words) == 2
    for typed, code in (("no\n", 2), (f"{good}\n", 0)):
        monkeypatch.setattr(sys, "stdin", _Terminal(typed))
        assert two.version() == before and cli.main(words) == code
    assert two.world.rows() == rows


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_dry_run_writes_nothing_also_where_the_catalog_is_lost(lived: tuple[Two, int, Rows], run: Run) -> None:
    """Opening for writing would make it again, and a version with it."""
    two, good, _ = lived
    before, sources = two.version(), run("rollback", "--to", str(good), "--dry-run")[1]["sources"]
    for file in two.world.home.glob("catalog.db*"):
        file.unlink()
    for word in (str(good), "2027-01-15T08:00:45"):
        code, said = run("rollback", "--to", word, "--dry-run")
        assert (code, said["version"], said["to"], said["sources"]) == (0, before, good, sources)
    assert two.version() == before and not list(two.world.home.glob("catalog.db*"))


def test_it_warns_where_nearly_everything_would_go_away(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    """The first version is seldom the one that somebody means."""
    two.near.put("n.md", "near")
    two.ingest()
    for number in range(20):
        two.far.put(f"{number}.md", f"far {number}")
    two.ingest()
    words = ["rollback", "--to", "1", "--home", str(two.world.home), "--config", str(two.config)]
    assert cli.main([*words, "--dry-run"]) == 0
    assert "WARNING: 20 of the 21 documents that are served would go away" in capsys.readouterr().out
    before = two.version()
    assert cli.main([*words, "--yes"]) == 0
    out = capsys.readouterr()
    assert "WARNING: 20 of the 21" in out.err and f"Was this the mistake? penstock rollback --to {before}" in out.out


@pytest.mark.parametrize("word", ["nonsense", "2.0", "", "-1"])
def test_what_is_no_time_may_have_been_meant_as_a_version(lived: tuple[Two, int, Rows], run: Run, word: str) -> None:
    """So the message says that a number is possible; one that does not exist yet is in no DR store either."""
    two, _, _ = lived
    code, said = run("rollback", f"--to={word}", "--yes")
    assert code == 2 and "or the number of a version" in said["error"]["message"]
    two.config.write_text(two.config.read_text() + f'[snapshots]\nstore = "{two.world.home.parent / "dr"}"\n')
    message = run("rollback", "--to", "99", "--yes")[1]["error"]["message"]
    assert "there is no such version yet" in message and "penstock restore" not in message


def test_it_does_not_disturb_a_run(lived: tuple[Two, int, Rows], run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """While one works on a source, the rollback is refused at once, and changes nothing."""
    two, good, rows = lived
    before = two.version()
    locks = wiring.locks(load(two.config), Home(two.world.home))
    held = locks.take("source.near")
    assert held is not None
    code, said = run("rollback", "--to", str(good), "--yes")
    assert (code, said["error"]["code"]) == (3, "conflict")
    assert said["error"]["message"].startswith("a run or a rollback is at work on near; stop it or wait, then the same")
    assert cli.main(["rollback", "--to", str(good), "--dry-run", "--home", str(two.world.home)]) == 0
    assert "It would be refused now: a run or a rollback is at work on near" in capsys.readouterr().out
    assert two.version() == before
    held.release()
    assert run("rollback", "--to", str(good), "--yes")[0] == 0 and two.world.rows() == rows


def test_a_run_that_planned_before_the_rollback_brings_nothing_back(lived: tuple[Two, int, Rows]) -> None:
    """Should one get past the locks: what it commits of the source afterwards is dropped, and counted as left."""
    two, good, rows = lived
    two.far.put("late.md", "late rubbish")
    two.near.put("late.md", "near and late")

    def meanwhile(_: str) -> None:
        two.far.meanwhile = lambda name: None
        with wiring.open_writer(load(two.config), Home(two.world.home), lambda line: None) as writer:
            rollback(writer, good)

    two.far.meanwhile = meanwhile
    account = two.ingest()
    assert (account.indexed, account.deferred, account.exit_code()) == (1, 1, 1)
    assert two.world.rows() == rows | {("near/late.md", "near and late")}
    two.ingest()
    assert two.world.rows() == rows | {("near/late.md", "near and late")}


def test_what_a_killed_run_prepared_waits_while_the_source_is_held(lived: tuple[Two, int, Rows], run: Run) -> None:
    """It is not committed; afterwards it is used if the source still has it, and not fetched again."""
    two, good, rows = lived
    two.far.put("f.md", "prepared")
    two.world.encoder = HashEncoder(dies_after=0)
    two.world.encoder.identity = model_wiring.model_identity(load(None))
    with pytest.raises(RuntimeError):
        two.ingest("far")
    two.world.encoder = HashEncoder()
    two.world.encoder.identity = model_wiring.model_identity(load(None))
    run("rollback", "--to", str(good), "--yes")
    assert two.ingest().resumed == 0 and two.world.rows() == rows
    assert list((two.world.home / "spool").glob("*/shard.json"))
    run("sources", "resume", "far")
    account = two.ingest()
    assert account.resumed == 1 and "f.md" not in two.far.fetched
    assert {row for row in two.world.rows() if row[0].startswith("far/")} == {
        (f"far/{name}", held.text) for name, held in two.far.held.items()
    }


def test_a_part_of_a_held_folder_and_a_lone_file_are_left_alone(world: World, tmp_path: Path) -> None:
    """An explicit path inside the source changes nothing, and does not let the source go either."""
    one, lone = world.write("a.txt", "alpha"), tmp_path / "lone.txt"
    lone.write_text("lone")
    world.ingest(world.docs, lone)
    with Reader.open(world.home) as reader:
        good = reader.version
    rows = world.rows()
    one.write_text("ruined")
    lone.write_text("ruined too")
    world.ingest(world.docs, lone)
    with wiring.open_writer(load(None), Home(world.home), lambda line: None) as writer:
        assert sorted(rollback(writer, good).sources) == ["adhoc", "docs"]
    account = world.ingest(one, lone)
    assert (account.held, account.held_asked, account.exit_code(), account.listed) == (2, 2, 1, 0)
    assert world.rows() == rows
    assert cli.main(["sources", "resume", "--all", "--home", str(world.home)]) == 0
    assert world.ingest(one, lone).indexed == 2


def test_a_source_that_came_with_the_bad_ingest_does_not_come_back_by_itself(two: Two, run: Run) -> None:
    """It stays known, without documents, and held; then it comes whole."""
    two.near.put("n.md", "near")
    two.ingest("near")
    good, rows = two.version(), two.world.rows()
    two.far.put("a.md", "alpha")
    two.ingest()
    assert run("rollback", "--to", str(good), "--yes")[1]["held"] == ["far"]
    assert two.ingest().held == 1 and two.world.rows() == rows
    run("sources", "resume", "far")
    assert two.ingest().indexed == 1 and two.far.listings == ["full"]
    assert two.world.rows() == rows | {("far/a.md", "alpha")}
