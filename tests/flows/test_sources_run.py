"""Runs over sources that are not folders: cursors, failures with a schedule, outages, budgets, moves, orphans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.connectors import registry
from penstock.connectors.http.breaker import Breaker
from penstock.connectors.http.budget_state import State, encoded
from penstock.connectors.http.ledger import FileLedger
from penstock.connectors.http.pace import SharedClock
from penstock.connectors.types import RejectItem, RetryLater, StopSource
from penstock.flows import cli, wiring
from penstock.flows.runs.accounting import Accounting, Retry
from penstock.index.reading.reader import Reader
from penstock.index.types import DocState
from tests.fakes import source as fake
from tests.flows.conftest import World


class Far:
    """A world whose documents are at a fake source called `far`; its clock goes as the test says."""

    def __init__(self, world: World, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.config, self.place = world, config, fake.at("far")
        self.now = 1_800_000_000.0
        monkeypatch.setattr(wiring, "clock", lambda: self.now)
        self.configure()

    def configure(self, extra: str = "", fed: bool = False) -> None:
        said = "true" if fed else "false"
        self.config.write_text(f'[sources.far]\ntype = "fake"\nfed = {said}\n{extra}')

    def ingest(self, *targets: str, **options: object) -> Accounting:
        self.now += 1.0
        self.place.listings.clear()
        self.place.fetched.clear()
        account = self.world.ingest(*(targets or ("far",)), config=str(self.config), **options)
        account.check()
        return account

    def states(self) -> dict[str, DocState]:
        with Reader.open(self.world.home) as reader:
            return {state.uri.removeprefix("far/"): state for state in reader.states("far")}


@pytest.fixture
def far(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    monkeypatch.setitem(registry._BUILT_IN, "fake", "tests.fakes.source")
    registry.connector.cache_clear()
    fake.PLACES.clear()
    yield Far(world, tmp_path / "penstock.toml", monkeypatch)
    registry.connector.cache_clear()


def test_documents_of_any_source_are_indexed_once(far: Far) -> None:
    """A second run of an unchanged source fetches nothing and commits nothing."""
    far.place.put("a.md", "alpha")
    far.place.put("b.md", "beta")
    first = far.ingest()
    assert (first.indexed, first.fetched) == (2, 2)
    second = far.ingest()
    assert (second.unchanged, second.fetched, second.version, far.place.fetched) == (2, 0, first.version, [])
    assert not list((far.world.home / "spool" / "fetched").iterdir())


def test_a_feed_is_asked_for_what_changed_and_the_listing_now_and_then(far: Far) -> None:
    """Changes and deletions come by the feed; once a day, and with --full, everything is listed."""
    far.configure(fed=True)
    for name in ("a.md", "b.md", "c.md"):
        far.place.put(name, name)
    assert far.ingest().indexed == 3
    far.place.put("a.md", "changed")
    far.place.drop("b.md")
    account = far.ingest()
    assert (far.place.listings, account.listed, account.indexed, account.deleted) == (["since 3"], 1, 1, 1)
    assert far.ingest().listed == 0 and far.place.listings == ["since 5"]
    far.now += 90_000
    assert far.ingest().unchanged == 2 and far.place.listings == ["full"]
    far.ingest(full=True)
    assert far.place.listings == ["full"]


def test_a_quiet_source_makes_no_versions(far: Far) -> None:
    """A run that finds nothing commits nothing, feed or not; only a listing that was due is remembered."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    version = far.ingest().version
    assert {far.ingest().version for _ in range(3)} == {version}
    far.now += 90_000
    due = far.ingest().version
    assert due == version + 1 and far.ingest().version == due


def test_an_expired_cursor_lists_everything(far: Far) -> None:
    """A feed that does not reach back is no reason to miss anything."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    far.ingest()
    far.place.put("b.md", "beta")
    far.place.expired = True
    assert far.ingest().indexed == 1
    assert far.place.listings == ["since 1", "full"]


def test_a_cursor_never_passes_what_was_not_reached(far: Far) -> None:
    """What a limit deferred is in the next feed again; what failed is a hole that is tried again by itself."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    far.ingest()
    for name in ("b.md", "c.md", "d.md"):
        far.place.put(name, name)
    far.place.faults["b.md"] = [fake.busy()()]
    assert (far.ingest(limit=2).failed, far.place.listings) == (1, ["since 1"])
    account = far.ingest()
    assert far.place.listings == ["since 1"]
    assert (account.indexed, account.failed) == (2, 0)
    assert sorted(far.place.fetched) == ["b.md", "d.md"]


def test_a_hole_behind_the_cursor_is_filled(far: Far) -> None:
    """The cursor moves on over a failure; the failure is done again without the feed naming it."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    far.place.put("b.md", "beta")
    far.place.faults["b.md"] = [fake.busy()()]
    assert far.ingest().failed == 1
    account = far.ingest()
    assert (far.place.listings, account.listed, account.indexed) == (["since 2"], 1, 1)


def test_a_failure_has_a_class_attempts_and_a_next_try(far: Far) -> None:
    """The first is tried again by the next run, later ones ever more rarely, none sooner than the source asked."""
    far.place.put("a.md", "alpha")
    far.place.faults["a.md"] = [fake.busy()() for _ in range(3)] + [fake.busy("server_error", 500.0)()]
    assert far.ingest().reasons == {"failed": {"throttled": 1}}
    far.ingest()
    state = far.states()["a.md"]
    assert (state.attempts, state.reason, state.retries, state.locator) == (2, "throttled", 3, "a.md")
    assert state.next_try == far.now + 60
    waiting = far.ingest()
    assert (waiting.failed, waiting.exit_code(), waiting.next_try, far.place.fetched) == (1, 1, state.next_try, [])
    far.now = state.next_try
    far.ingest()
    assert far.states()["a.md"].next_try == far.now + 240
    far.now += 240
    far.ingest()
    assert far.states()["a.md"].next_try == far.now + 960
    far.now += 960
    assert far.ingest().indexed == 1


def test_a_changed_document_does_not_wait_for_its_next_try(far: Far) -> None:
    """A new version is a new chance."""
    far.place.put("a.md", "alpha")
    far.place.faults["a.md"] = [fake.busy(after=5_000.0)()]
    far.ingest()
    assert far.ingest().indexed == 0
    far.place.put("a.md", "mended")
    assert far.ingest().indexed == 1


def test_retry_does_exactly_what_failed(far: Far) -> None:
    """No listing, no waiting; by source, class and uri."""
    for name in ("a.md", "b.md", "c.md", "d.md"):
        far.place.put(name, name)
    far.place.faults = {
        "a.md": [fake.busy(after=9_000.0)()],
        "b.md": [fake.busy("forbidden", 9_000.0)()],
        "c.md": [RejectItem("much too large", reason="too_large")],
    }
    assert far.ingest().failed == 2
    account = far.ingest(retry=Retry(reason="forbidden"))
    assert (account.listed, account.indexed, far.place.listings, far.place.fetched) == (1, 1, [], ["b.md"])
    assert far.ingest(retry=Retry(uris=("far/c.md",))).indexed == 1
    assert far.ingest(retry=Retry()).indexed == 1 and far.place.fetched == ["a.md"]
    assert far.ingest(retry=Retry()).listed == 0


def test_what_was_prepared_is_committed_when_the_source_goes_down(far: Far) -> None:
    """The run ends incomplete, says when it may go on, and the next one does only the rest."""
    for number in range(20):
        far.place.put(f"{number:02}.md", f"text {number}")
    far.place.down_after = 7
    account = far.ingest()
    assert (account.indexed, account.deferred, account.exit_code()) == (7, 13, 1)
    assert any("the source is down" in line and "10 min" in line for line in account.messages)
    done = set(far.place.fetched)
    far.place.down_after = None
    assert far.ingest().indexed == 13
    assert not done & set(far.place.fetched)


def test_of_several_sources_one_that_cannot_be_listed_does_not_stop_the_rest(far: Far) -> None:
    """The others are done; the run is incomplete and names it. Alone, it is an error."""
    far.configure('[sources.near]\ntype = "fake"\n')
    fake.at("near").put("n.md", "near")
    far.place.unlisted = StopSource("no credentials")
    account = far.ingest("far", "near")
    assert (account.indexed, account.unlisted, account.exit_code()) == (1, 1, 1)
    assert any("no credentials" in line for line in account.messages)
    with pytest.raises(StopSource):
        far.ingest()


def test_a_fault_in_a_connector_costs_one_document_or_one_source(far: Far) -> None:
    """Whatever it raises: the rest of the run is done, and the document has a reason."""
    far.configure('[sources.near]\ntype = "fake"\n')
    for name in ("a.md", "b.md", "c.md"):
        far.place.put(name, name)
    fake.at("near").put("n.md", "near")
    far.place.faults["b.md"] = [ValueError("a bug")]
    account = far.ingest("far", "near")
    assert (account.indexed, account.reasons) == (3, {"failed": {"connector_failed": 1}})
    far.place.unlisted = KeyError("another bug")
    fake.at("near").put("m.md", "more")
    account = far.ingest("far", "near")
    assert (account.indexed, account.unlisted) == (1, 1)


def test_a_source_that_may_come_back_by_itself_is_work_left_and_no_error(far: Far) -> None:
    """Even alone: a schedule must tell a typo from an outage."""
    far.place.put("a.md", "alpha")
    far.ingest()
    for away in (RetryLater("503"), StopSource("it asks everybody to wait", after=600.0)):
        far.place.unlisted = away
        account = far.ingest()
        assert (account.unlisted, account.exit_code(), account.unchanged) == (1, 1, 0)
        assert any(line.startswith("far could not be listed") for line in account.messages)
    assert ("far/a.md", "alpha") in far.world.rows()


@pytest.mark.parametrize("left", [0, 12])
def test_an_empty_or_much_shorter_listing_deletes_nothing(far: Far, left: int) -> None:
    """It is withheld and said, until somebody confirms as many."""
    for number in range(40):
        far.place.put(f"{number:02}.md", f"text {number}")
    far.ingest()
    for number in range(left, 40):
        far.place.drop(f"{number:02}.md")
    account = far.ingest()
    assert (account.deleted, account.withheld, account.exit_code()) == (0, 40 - left, 1)
    assert f"--confirm-deletions {40 - left}" in " ".join(account.messages)
    assert far.ingest(confirm_deletions=39 - left).deleted == 0
    assert far.ingest(confirm_deletions=40 - left).deleted == 40 - left


def test_many_deletions_by_the_feed_are_withheld_too(far: Far) -> None:
    """A feed that says that everything is gone is believed no more than a listing."""
    far.configure(fed=True)
    for number in range(40):
        far.place.put(f"{number:02}.md", f"text {number}")
    far.ingest()
    for number in range(30):
        far.place.drop(f"{number:02}.md")
    account = far.ingest()
    assert (account.deleted, account.withheld) == (0, 30)
    assert far.ingest(confirm_deletions=30).deleted == 30


def test_since_and_until_filter_what_is_to_be_done(far: Far) -> None:
    """What is outside is counted, and comes when nobody filters; what says no time is taken."""
    far.place.put("old.md", "old", modified=1_000.0)
    far.place.put("new.md", "new", modified=2_000.0)
    far.place.put("undated.md", "undated")
    account = far.ingest(since=1_500.0)
    assert (account.indexed, account.filtered, sorted(far.place.fetched)) == (2, 1, ["new.md", "undated.md"])
    assert far.ingest(until=1_500.0).indexed == 1


def test_a_budget_of_tokens_ends_the_run_at_a_shard_boundary(far: Far) -> None:
    """The rest is deferred, and the same command goes on."""
    for number in range(30):
        far.place.put(f"{number:02}.md", f"text {number} " * 40)
    account = far.ingest(budget_tokens=1_000)
    assert account.indexed and account.deferred and account.exit_code() == 1
    assert 1_000 <= account.tokens < 1_500
    assert any("budget of tokens is spent" in line for line in account.messages)
    fetched = len(far.place.fetched)
    rest = far.ingest()
    assert rest.indexed == account.deferred
    assert fetched + len(far.place.fetched) == 30, "what was under way when the budget was spent is kept"


def test_what_a_budget_left_is_used_though_something_failed_beside_it(far: Far) -> None:
    """A run that goes by the feed takes over what is prepared, and fetches nothing twice."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    far.ingest()
    for number in range(30):
        far.place.put(f"{number:02}.md", f"text {number} " * 40)
    far.place.faults = {f"{number:02}.md": [fake.busy(after=900.0)()] for number in range(0, 30, 4)}
    far.ingest(budget_tokens=1_000)
    fetched = list(far.place.fetched)
    account = far.ingest()
    assert account.resumed > 0 and far.place.listings == ["since 1"]
    assert not set(fetched) & set(far.place.fetched)
    assert not list((far.world.home / "spool").glob("shard-*"))


def test_labels_that_changed_meanwhile_reach_what_was_prepared(far: Far) -> None:
    """Nothing is served under the labels of a configuration that is not in force any more."""
    for number in range(30):
        far.place.put(f"{number:02}.md", f"text {number} " * 40)
    assert far.ingest(budget_tokens=1_000).deferred
    assert list((far.world.home / "spool").glob("shard-*"))
    far.configure('labels = ["secret"]\n')
    far.ingest()
    with Reader.open(far.world.home) as reader:
        passages = reader.passages([f"far/{number:02}.md" for number in range(30)])
    assert {passage.row.labels for passage in passages} == {("secret",)}


def test_a_moved_document_is_not_embedded_again(far: Far) -> None:
    """Its passages are in the index: they are served under the new uri, and the old one goes."""
    far.place.put("old/name.md", "a text that stays as it is")
    far.ingest()
    (far.world.home / "cache" / "vectors.db").unlink()
    with far.config.open("a") as config:
        config.write("[cache]\nmax_mb = 0\n")
    held = far.place.held.pop("old/name.md")
    far.place.held["new/name.md"] = held
    account = far.ingest()
    assert (account.indexed, account.deleted, account.embedded_tokens) == (1, 1, 0)
    assert account.reused_tokens == account.tokens > 0
    assert {uri for uri, _ in far.world.rows()} == {"far/new/name.md"}


def test_a_moved_document_is_served_under_its_old_name_until_the_new_one_has_come(far: Far) -> None:
    """Whatever keeps the new one away: a limit, a window of time, a fault."""
    far.place.put("a.md", "alpha", modified=1_000.0)
    far.place.put("b.md", "beta")
    far.ingest()
    far.place.held["moved.md"] = far.place.held.pop("a.md")
    far.place.held["0-new.md"] = fake.Held("new", "v9")
    far.place.faults["moved.md"] = [fake.busy()()]
    for options in ({"limit": 1}, {"since": 2_000.0}, {}):
        account = far.ingest(**options)
        assert account.deleted == 0 and ("far/a.md", "alpha") in far.world.rows(), options
    assert far.ingest().deleted == 1
    assert ("far/moved.md", "alpha") in far.world.rows() and ("far/a.md", "alpha") not in far.world.rows()


def test_of_an_edited_document_only_what_changed_is_embedded(far: Far) -> None:
    """Its other passages have vectors in the index, cache or not; a document that was only touched is not even read."""
    far.configure("[cache]\nmax_mb = 0\n")
    parts = [f"# Part {n}\n\n" + f"sentence {n} goes on and on. " * 60 for n in range(6)]
    far.place.put("a.md", "\n\n".join(parts))
    first = far.ingest()
    far.place.put("a.md", "\n\n".join([*parts[:5], parts[5] + "and ends differently."]))
    edited = far.ingest()
    assert edited.indexed == 1 and 0 < edited.embedded_tokens < first.embedded_tokens / 2
    assert edited.embedded_tokens + edited.reused_tokens == edited.tokens
    assert far.world.rows() == clean_rows(far)


def clean_rows(far: Far) -> set[tuple[str, str]]:
    """What a build from nothing serves."""
    world = far.world
    home, world.home = world.home, world.home.with_name("clean")
    try:
        far.ingest()
        return world.rows()
    finally:
        world.home = home


def test_equal_texts_of_several_sources_are_embedded_once(far: Far) -> None:
    """Each keeps its own provenance."""
    far.configure('[sources.near]\ntype = "fake"\nlabels = ["internal"]\n')
    far.place.put("a.md", "the same words here and there")
    fake.at("near").put("b.md", "the same words here and there")
    account = far.ingest("far", "near")
    assert account.indexed == 2
    assert account.embedded_tokens == account.reused_tokens
    assert {uri for uri, _ in far.world.rows()} == {"far/a.md", "near/b.md"}


def test_new_labels_reach_documents_that_did_not_change(far: Far) -> None:
    """Who may read is no matter of content; nothing is embedded for it."""
    far.place.put("a.md", "alpha")
    far.ingest()
    far.configure('labels = ["secret"]\n')
    account = far.ingest()
    assert (account.indexed + account.unchanged, account.embedded_tokens) == (1, 0)
    with Reader.open(far.world.home) as reader:
        (passage,) = reader.passages(["far/a.md"])
        assert passage.row.labels == ("secret",)
    assert far.ingest().fetched == 0


def test_a_changed_description_lists_everything(far: Far) -> None:
    """No feed tells that somebody else may read a document now: the next run looks at all of them, once."""
    far.configure(fed=True)
    far.place.put("a.md", "alpha")
    far.ingest()
    far.configure('labels = ["secret"]\n', fed=True)
    far.ingest()
    assert far.place.listings == ["full"]
    with Reader.open(far.world.home) as reader:
        assert [passage.row.labels for passage in reader.passages(["far/a.md"])] == [("secret",)]
    far.ingest()
    assert far.place.listings == ["since 1"]


def test_new_labels_at_the_source_reach_the_chunks(far: Far) -> None:
    """The version moved, the bytes did not: the chunks are made again all the same."""
    far.place.put("a.md", "alpha")
    far.ingest()
    far.place.held["a.md"] = fake.Held("alpha", "v9", labels=("board",))
    far.ingest()
    with Reader.open(far.world.home) as reader:
        (passage,) = reader.passages(["far/a.md"])
        assert passage.row.labels == ("board",)


def test_a_changed_template_makes_documents_again(far: Far) -> None:
    """What shapes documents in the configuration counts like a change at the source, once."""
    far.place.put("a.md", "alpha")
    far.ingest()
    far.configure('template = "{title}"\n')
    assert far.ingest().fetched == 1
    assert far.ingest().fetched == 0


def test_a_source_that_dropped_out_of_the_configuration_is_orphaned(
    far: Far, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said in plan and status, and served until it is removed."""
    far.place.put("a.md", "alpha")
    far.ingest()
    far.config.write_text('[sources.near]\ntype = "fake"\n')
    fake.at("near").put("n.md", "near")
    assert any("far is orphaned" in line for line in far.ingest("near").messages)
    words = ["--home", str(far.world.home), "--config", str(far.config), "--json"]
    assert cli.main(["status", *words]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [s["orphaned"] for s in status["sources"]] == [True, False]
    assert ("far/a.md", "alpha") in far.world.rows()


def test_status_says_that_a_source_may_not_be_asked_now(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    """A cooldown or a breaker that is open is the reason why the next run does nothing; looking changes neither."""
    far.place.put("a.md", "alpha")
    far.ingest()
    words = ["status", "--home", str(far.world.home), "--config", str(far.config), "--json"]

    def warnings() -> list[str]:
        assert cli.main(words) == 0
        found: list[str] = json.loads(capsys.readouterr().out)["warnings"]
        return [line for line in found if "source far" in line]

    assert warnings() == []
    ledger = FileLedger(far.world.home / "budgets")
    for state in (
        State(clock=SharedClock(time=far.now), cooldown=far.now + 3_600),
        State(clock=SharedClock(time=far.now), breaker=Breaker(failures=8, next_probe=far.now + 30)),
    ):
        ledger.change("far", lambda value, state=state: (encoded(state), None))  # type: ignore[misc]
        before = ledger.path("far").read_bytes()
        [line] = warnings()
        assert "is not asked until 2027-01-15" in line and ledger.path("far").read_bytes() == before


def test_a_rejection_at_the_source_stands_until_the_item_changes(far: Far) -> None:
    """Too large is too large; a new version is looked at."""
    far.place.put("a.md", "alpha")
    far.place.faults["a.md"] = [RejectItem("1 GB", reason="too_large")]
    assert far.ingest().reasons == {"rejected": {"too_large": 1}}
    assert (far.ingest().rejected, far.place.fetched) == (1, [])
    far.place.put("a.md", "smaller")
    assert far.ingest().indexed == 1


def test_a_failing_document_goes_on_being_served(far: Far) -> None:
    """An update that cannot be fetched changes nothing for readers."""
    far.place.put("a.md", "alpha")
    far.ingest()
    far.place.put("a.md", "beta")
    far.place.faults["a.md"] = [RetryLater("no")]
    assert far.ingest().failed == 1
    assert far.world.rows() == {("far/a.md", "alpha")}
    far.now += 1_000
    assert far.ingest().indexed == 1
    assert far.world.rows() == {("far/a.md", "beta")}


def test_below_a_gap_nothing_is_deleted_and_the_cursor_stays(far: Far) -> None:
    """What could not be listed is not known."""
    far.configure(fed=True)
    far.place.put("x/a.md", "alpha")
    far.place.put("b.md", "beta")
    far.ingest()
    del far.place.held["x/a.md"]
    far.place.gap = "x/"
    account = far.ingest(full=True)
    assert (account.deleted, account.gaps, account.exit_code()) == (0, 1, 1)


def command(far: Far, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, object]]]:
    def run(*words: str) -> tuple[int, dict[str, object]]:
        code = cli.main([*words, "--home", str(far.world.home), "--config", str(far.config), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_sources_test_tries_everything_and_writes_nothing(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings, listing, fetching, parsing; the first thing that fails is said, with exit code 1."""
    run = command(far, capsys)
    far.place.put("a.md", "# Title\n\nalpha")
    code, said = run("sources", "test", "far")
    steps = said["steps"]
    assert isinstance(steps, list)
    assert (code, [step["name"] for step in steps]) == (0, ["settings", "listing", "fetching", "parsing"])
    assert not far.world.home.exists()
    far.place.faults["a.md"] = [StopSource("the token expired")]
    code, said = run("sources", "test", "far")
    assert (code, said["ok"]) == (1, False)
    assert "the token expired" in json.dumps(said)
    far.place.held.clear()
    assert run("sources", "test", "far")[0] == 1


def test_retry_and_budget_from_the_command_line(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    """The words of the command line reach the run."""
    run = command(far, capsys)
    far.place.put("a.md", "alpha")
    far.place.faults["a.md"] = [fake.busy(after=9_000.0)()]
    assert run("ingest", "far")[0] == 1
    assert run("retry", "--class", "server_error")[1]["listed"] == 0
    assert run("retry", "--source", "far", "--class", "throttled")[1]["indexed"] == 1
    code, said = run("retry", "--class", "tiresome")
    assert (code, "throttled" in json.dumps(said)) == (2, True)
    assert run("ingest", "far", "--budget", "token=3")[0] == 2
    assert run("ingest", "far", "--since", "yesterday")[0] == 2
    assert run("plan", "far", "--since", "2020-01-01", "--budget", "minutes=5")[0] == 0
