"""How fresh the index is, is never said to be better than it is, and a breach is told once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.types import Gap, Item
from penstock.flows import cli, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.config.settings import Settings, load
from penstock.flows.plans.plan import SourcePlan, Todo
from penstock.flows.plans.targets import Target
from penstock.flows.runs import freshness
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.events import CommitLanded
from penstock.flows.runs.launch import on_threads
from penstock.flows.runs.run import Run
from penstock.index.types import DocState, SourceState
from tests.flows.conftest import World

T = 1_800_000_000.0


class Home:
    """A home with one configured source `docs`, a clock of its own, and runs over it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.now = world, T
        self.config = world.docs.parent / "penstock.toml"
        self.config.write_text('home = "home"\n[sources.docs]\npath = "docs"\nfreshness = "1h"\n')
        monkeypatch.setattr(wiring, "clock", self.tick)

    def tick(self) -> float:
        self.now += 0.001
        return self.now

    @property
    def settings(self) -> Settings:
        return load(self.config)

    def ingest(self, *targets: str, **asked: object) -> Accounting:
        request = IngestRequest(home=str(self.world.home), config=str(self.config), targets=targets, **asked)  # type: ignore[arg-type]
        return Run(request, Quiet()).execute(on_threads)

    def write(self, name: str, text: str) -> None:
        """A document that was written a moment ago, and is whole by now."""
        path = self.world.write(name, text)
        os.utime(path, (self.now, self.now))
        self.now += 10

    def as_of(self) -> float:
        return freshness.read(self.world.home).get("docs", freshness.Kept()).as_of


@pytest.fixture
def home(world: World, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(world, monkeypatch)


def test_a_complete_run_moves_it_to_the_beginning_of_its_listing(home: Home) -> None:
    """Also one that found nothing to do; the account says it."""
    home.write("a.txt", "alpha")
    first = home.ingest()
    assert T + 10 < home.as_of() == first.freshness["docs"].as_of < home.now
    assert first.freshness["docs"].objective == 3600
    home.now += 500
    began = home.now
    again = home.ingest()
    assert (again.indexed, again.unchanged) == (0, 1) and began < home.as_of() < home.now


PARTIAL: dict[str, Callable[[Home], object]] = {
    "part of it": lambda home: home.ingest(str(home.world.docs / "b.txt")),
    "since": lambda home: home.ingest(since=T),
    "until": lambda home: home.ingest(until=home.now + 9999),
    "limit": lambda home: home.ingest(limit=1),
    "dry run": lambda home: home.ingest(dry_run=True),
    "budget": lambda home: home.ingest(budget_minutes=0.0),
    "retry": lambda home: home.ingest(retry=_retry()),
}


def _retry() -> object:
    from penstock.flows.runs.accounting import Retry

    return Retry()


@pytest.mark.parametrize("what", PARTIAL)
def test_a_run_that_leaves_something_out_on_purpose_never_moves_it(home: Home, what: str) -> None:
    """Whatever came of the documents that it did."""
    home.write("a.txt", "alpha")
    home.ingest()
    before = home.as_of()
    home.now += 100
    home.write("b.txt", "beta")
    home.write("c.txt", "gamma")
    PARTIAL[what](home)
    assert home.as_of() == before > 0


def test_what_is_withheld_keeps_it_where_it_was(home: Home) -> None:
    """Documents that are gone at the source are still found; believed at last, it moves."""
    for number in range(30):
        home.write(f"{number}.txt", f"text {number}")
    home.ingest()
    before = home.as_of()
    for number in range(29):
        (home.world.docs / f"{number}.txt").unlink()
    home.now += 60
    assert home.ingest().withheld == 29 and home.as_of() == before
    home.ingest(confirm_deletions=29)
    assert home.as_of() > before


def test_a_failed_document_keeps_it_and_a_rejected_one_does_not(home: Home) -> None:
    """What cannot become text is searchable never; what failed may be later, so the claim has to wait for it."""
    home.write("a.txt", "alpha")
    home.write("empty.txt", "")
    assert home.ingest().rejected == 1
    before = home.as_of()
    assert before > 0
    home.now += 60
    home.write("b.txt", "beta")
    os.utime(home.world.docs / "b.txt", (home.now, home.now))  # as if it were still being written
    assert home.ingest().failed == 1 and home.as_of() == before
    home.now += 60
    assert home.ingest().indexed == 1 and home.as_of() > before


@pytest.mark.parametrize("command", [["sources", "remove", "docs", "--yes"], ["rollback", "--to", "1", "--yes"]])
def test_what_takes_documents_away_takes_the_claim_back(
    home: Home, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the next complete listing nothing is claimed; the age goes on from what was claimed last."""
    home.write("a.txt", "alpha")
    home.ingest()
    home.write("b.txt", "beta")
    home.ingest()
    before = home.as_of()
    assert cli.main([*command, "--config", str(home.config)]) == 0, capsys.readouterr()
    kept = freshness.read(home.world.home)["docs"]
    assert (kept.as_of, kept.since) == (0.0, before)


def test_an_index_that_lost_versions_claims_nothing(tmp_path: Path) -> None:
    """After a disaster the newest version is older than the one that the claim was about."""
    freshness.settle(tmp_path, {"docs": T}, {}, ["docs"], 7, T + 1)
    kept = freshness.settle(tmp_path, {}, {}, ["docs"], 5, T + 2)
    assert (kept["docs"].as_of, kept["docs"].since) == (0.0, T)


def test_a_breach_is_told_once_and_cleared_when_it_is_over(home: Home) -> None:
    """However often and from wherever it is looked at; a new breach is told again."""
    home.write("a.txt", "alpha")
    home.ingest()
    kept, where = home.settings, home.world.home
    assert freshness.breaches(kept, where, home.now) == freshness.newly_breached(kept, where, home.now) == []
    late = home.as_of() + 3600.5
    (breach,) = freshness.newly_breached(kept, where, late)
    assert (breach.source, breach.objective, breach.as_of) == ("docs", 3600, home.as_of())
    assert breach.age == pytest.approx(3600.5) and breach.since == pytest.approx(home.as_of() + 3600)
    assert freshness.newly_breached(kept, where, late + 60) == []
    assert [each.source for each in freshness.breaches(kept, where, late + 60)] == ["docs"]
    home.now = late + 100
    home.ingest()
    assert freshness.newly_breached(kept, where, home.now) == []
    assert freshness.breaches(kept, where, home.now) == []
    assert len(freshness.newly_breached(kept, where, home.now + 3700)) == 1


def test_a_source_that_was_never_complete_ages_from_when_it_was_met(home: Home) -> None:
    """One that never works at all is told of too."""
    home.world.home.mkdir()
    assert freshness.newly_breached(home.settings, home.world.home, T) == []
    assert freshness.newly_breached(home.settings, home.world.home, T + 3599) == []
    (breach,) = freshness.newly_breached(home.settings, home.world.home, T + 3601)
    assert (breach.as_of, breach.since) == (0.0, T + 3600)


def test_a_file_that_is_damaged_claims_nothing(home: Home) -> None:
    """It is made anew by the next run."""
    home.write("a.txt", "alpha")
    home.ingest()
    path = home.world.home / freshness.FILE
    path.write_bytes(path.read_bytes()[:-9])
    assert freshness.read(home.world.home) == {}
    home.ingest()
    assert home.as_of() > 0


def test_lags_are_those_of_news(home: Home) -> None:
    """Of the first run nothing is news; later a document counts from its change, and one with an old date does not."""
    home.write("old.txt", "an old text")
    home.now += 1000
    first = home.ingest()
    assert first.freshness["docs"].documents == 0
    home.write("new.txt", "a new text")
    home.write("moved.txt", "a text that came with its old date")
    os.utime(home.world.docs / "moved.txt", (T - 1e6, T - 1e6))
    second = home.ingest().freshness["docs"]
    assert second.documents == 1 and 20 <= second.lag_p50 == second.lag_max < 21
    assert home.ingest().freshness["docs"].lag_p50 == second.lag_p50  # the last run that met changes


def test_settling_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    """Runs over different sources end at the same moment."""
    from concurrent.futures import ThreadPoolExecutor

    def one(number: int) -> None:
        freshness.settle(tmp_path, {f"s{number}": T + number}, {}, [f"s{number}"], 1, T)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
    assert {name: kept.as_of for name, kept in freshness.read(tmp_path).items()} == {f"s{n}": T + n for n in range(40)}


URIS = [f"docs/{letter}" for letter in "abcdef"]


@given(
    wanted=st.sets(st.sampled_from(URIS)),
    gone=st.sets(st.sampled_from(URIS)),
    landed=st.dictionaries(st.sampled_from(URIS), st.sampled_from(["indexed", "rejected", "failed", "deleted"])),
    left=st.fixed_dictionaries(
        {name: st.sampled_from([0, 0, 0, 1]) for name in ("deferred", "filtered", "withheld", "gaps", "waiting")}
    ),
    whole=st.sampled_from(["listing", "feed", "part"]),
    held=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_moves_only_if_each_change_is_accounted_for(
    wanted: set[str], gone: set[str], landed: dict[str, str], left: dict[str, int], whole: str, held: bool
) -> None:
    """Everything that was listed as new or changed has landed, all that is gone is deleted, nothing was left out."""
    gone -= wanted
    plan = SourcePlan(source="docs", complete=whole == "listing", began=T)
    plan.todo = [Todo(Item(uri, uri, "v", 1, None), None) for uri in sorted(wanted)]
    plan.gone = [DocState(uri=uri, source="docs", status="indexed", changed_at=1.0) for uri in sorted(gone)]
    plan.cursor = "c" if whole == "feed" else None
    plan.deferred, plan.filtered, plan.withheld = left["deferred"], left["filtered"], left["withheld"]
    plan.gaps = [Gap("docs/x", "closed")] * left["gaps"]
    plan.waiting.update(["throttled"] * left["waiting"])
    plan.held = "since a rollback" if held else ""
    states = {uri: DocState(uri=uri, source="docs", status=s, changed_at=1.0) for uri, s in landed.items()}  # type: ignore[arg-type]
    target = Target(SourceState(name="docs", type="files", binding="/docs"))
    found = freshness.complete(IngestRequest(home="/h"), [plan], [target], states)
    there = all(landed.get(uri, "failed") != "failed" for uri in wanted | gone)
    assert ("docs" in found) == (there and not any(left.values()) and whole != "part" and not held)
    if found:
        assert found == {"docs": T}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_occurred(lags: list[float], share: float) -> None:
    """And as many as it says are not above it."""
    found = freshness.quantile(sorted(lags), share)
    assert found in lags and sum(lag <= found for lag in lags) >= share * len(lags) - 1e-9


def test_lags_of_a_huge_run_stay_bounded() -> None:
    """A run over millions of documents must not hold a figure for each."""
    lags = freshness.Lags(lambda: {"docs": freshness.Kept(as_of=1.0)}, lambda: T)
    for version in range(5):
        lags(CommitLanded("s", "docs", version, fresh=(1.0,) * 100_000))
    assert len(lags.found["docs"]) == freshness.MOST


def test_status_shows_how_fresh_each_source_with_an_objective_is(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """And warns where it is staler than it may be."""
    home.write("a.txt", "alpha")
    home.ingest()
    capsys.readouterr()
    assert cli.main(["status", "--config", str(home.config)]) == 0
    assert "fresh docs" in (said := capsys.readouterr().out) and "may be 1 h 0 min old" in said
    home.now += 7200
    assert cli.main(["status", "--config", str(home.config)]) == 0
    assert "warning: docs is staler than its objective allows" in (said := capsys.readouterr().out), said
