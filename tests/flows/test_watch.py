"""What a look at an index finds, in bounded time, and what Prometheus is served of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.http.budget_state import decoded, encoded
from penstock.connectors.http.ledger import FileLedger
from penstock.flows import cli, wiring
from penstock.flows.config import home as homes
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.metrics import exposition, parts, remembered, searching, textfiles, watching
from penstock.flows.metrics.asking import Asking
from penstock.flows.metrics.documents import Documents
from penstock.flows.metrics.exporter import Exporter, Page, address, open_to_all
from penstock.flows.metrics.look import Look, Problem
from penstock.flows.metrics.remembered import Remembered
from penstock.flows.metrics.state import StateFigures
from penstock.flows.metrics.watching import Watcher
from penstock.flows.recovery import archives, drill_log, snapshots
from penstock.flows.runs import freshness
from penstock.index.commits import manifest as manifests
from penstock.index.commits.backlog import measure
from penstock.index.reading.reader import Reader
from tests.flows.conftest import World
from tests.flows.test_metrics import Series, by, one, parse

CONFIG = "penstock.toml"


@pytest.fixture
def look(world: World) -> Iterator[Callable[[], Look]]:
    """Looks with the configuration as it is then."""
    made: list[Watcher] = []

    def once() -> Look:
        made.append(Watcher(load(Path(CONFIG)), Home(world.home), lambda line: None))
        return made[-1].look()

    configure()
    yield once
    for watcher in made:
        watcher.close()


def test_the_figures_are_those_of_the_index(world: World, look: Callable[[], Look]) -> None:
    """Documents as in the account, what is served, each replica, and searches with vectors of the index."""
    world.write("a.txt", "alpha text")
    world.write("b.txt", "beta text")
    world.write("empty.txt", "")
    account = world.ingest(config=CONFIG)
    series = figures(look())
    assert by(series, "penstock_documents", "state") == {"indexed": account.indexed, "failed": 0, "rejected": 1}
    assert one(series, "penstock_version") == one(series, "penstock_documents_version") == account.version
    assert one(series, "penstock_chunks") == account.chunks
    assert by(series, "penstock_replica_up", "replica") == {"0": 1, "1": 1}
    assert one(series, "penstock_under_replicated_bytes") == 0
    assert one(series, "penstock_search_seconds_count") == account.chunks
    assert (one(series, "penstock_watch_up"), one(series, "penstock_watch_problems")) == (1, 0)


def test_documents_are_counted_by_source(world: World, look: Callable[[], Look]) -> None:
    """Several sources, one of them with documents that failed or were rejected."""
    world.write("a.txt", "alpha text")
    other = world.home.parent / "other"
    other.mkdir()
    (other / "x.txt").write_text("x text")
    (other / "empty.txt").write_text("")
    configure('[sources.docs]\npath = "docs"', '[sources.other]\npath = "other"')
    world.ingest("docs", "other", config=CONFIG)
    assert look().documents == {
        "docs": {"indexed": 1, "failed": 0, "rejected": 0},
        "other": {"indexed": 1, "failed": 0, "rejected": 1},
    }


def test_a_large_index_is_not_counted_anew_for_each_version(world: World) -> None:
    """A count that took long is left standing for long, with the version that it is of, also for another process."""
    now = 1_000.0

    def clock() -> float:
        nonlocal now
        now += 10.0  # a count takes ten seconds
        return now

    other = world.home.parent / "other"
    other.mkdir()
    (other / "x.txt").write_text("x text")
    configure('[sources.docs]\npath = "docs"', '[sources.other]\npath = "other"')
    world.write("a.txt", "alpha text")
    world.ingest("docs", "other", config=CONFIG)
    counting = Documents(Home(world.home).cache, clock)
    with Reader.open(world.home) as reader:
        first = counting.count(reader)
    world.write("b.txt", "beta text")
    world.ingest("docs", config=CONFIG)
    with Reader.open(world.home) as reader:
        assert counting.count(reader) == first
        again = Documents(Home(world.home).cache, clock)
        assert again.count(reader) == first
        now += 500.0
        assert again.count(reader).sources["docs"] == {"indexed": 2, "failed": 0, "rejected": 0}


def test_a_home_in_which_nothing_was_committed_is_well(world: World, look: Callable[[], Look]) -> None:
    """It has version 0, and nobody is called."""
    homes.create(world.home)
    found = look()
    assert (found.version, found.up, found.problems) == (0, True, ())
    assert one(figures(found), "penstock_version") == 0


def test_a_replica_that_is_away_is_down_and_a_problem(world: World, look: Callable[[], Look]) -> None:
    """The index is served all the same."""
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    (world.home / "replicas" / "1").rename(world.home / "away")
    found = look()
    series = figures(found)
    assert by(series, "penstock_replica_up", "replica") == {"0": 1, "1": 0}
    assert one(series, "penstock_watch_up") == 1 and found.version == 1 and found.searches
    assert [(each.kind, each.subject) for each in found.problems] == [("replica", "1")]
    with Reader.open(world.home) as reader:
        served = sum(ref.size for ref in manifests.closure(reader.manifest).values())
    assert one(series, "penstock_under_replicated_bytes") == served > 0


def test_a_replica_that_lacks_something_says_how_much(world: World, look: Callable[[], Look]) -> None:
    """Under-replicated bytes are those of the backlog."""
    one_replica = world.home / "replicas" / "1"
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    shutil.copytree(one_replica, world.home / "old")
    world.write("b.txt", "beta text")
    world.ingest(config=CONFIG)
    shutil.rmtree(one_replica)
    (world.home / "old").rename(one_replica)
    found = look()
    lacks = measure(dict(wiring.stores(load(Path(CONFIG)), Home(world.home))), {}, print)["1"].bytes
    assert lacks > 0 and one(figures(found), "penstock_under_replicated_bytes") == lacks
    assert by(figures(found), "penstock_replica_version", "replica") == {"0": 2, "1": 1}


def test_no_replica_at_all_is_said(world: World, look: Callable[[], Look]) -> None:
    """Nothing can be read: the watch is not up, and says so first."""
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    (world.home / "replicas").rename(world.home / "away")
    found = look()
    assert not found.up and found.problems[0].kind == "index" and found.version is None
    assert one(figures(found), "penstock_watch_up") == 0


def test_a_store_that_is_behind_says_how_far(world: World, look: Callable[[], Look], monkeypatch: Any) -> None:
    """Versions, bytes and seconds; beyond `alerts.ship_behind` it is a problem."""
    configure("[snapshots]", 'store = "dr"', "during_runs = false")
    for name in ("a", "b"):
        world.write(f"{name}.txt", f"{name} text")
        world.ingest(config=CONFIG)
    found = look()
    (store,) = found.stores.values()
    (Path("dr")).mkdir(exist_ok=True)
    series = figures(look())
    assert by(series, "penstock_ship_lag_versions", "store") == {str(world.home.parent / "dr"): 2}
    (seconds,) = series["penstock_ship_lag_seconds"].values()
    assert 0 < seconds < 600 and store.lag_versions in (None, 2)
    assert not [each for each in look().problems if each.kind == "ship"]
    at = wiring.clock() + 3_600
    monkeypatch.setattr(wiring, "clock", lambda: at)
    late = look()
    assert [each.kind for each in late.problems] == ["ship"]
    assert cli.main(["ship", "--home", str(world.home), "--config", CONFIG]) == 0
    series = figures(look())
    assert by(series, "penstock_ship_lag_versions", "store") == {str(world.home.parent / "dr"): 0}
    assert not [each for each in look().problems if each.kind in ("ship", "store")]


def test_snapshots_and_drills_have_an_age(world: World, look: Callable[[], Look], monkeypatch: Any) -> None:
    """Beyond `[alerts]` they are problems, and so is it where there never was one."""
    configure("[snapshots]", 'store = "dr"')
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    assert look().problems == ()
    now = wiring.clock()
    monkeypatch.setattr(wiring, "clock", lambda: now + 3 * 86_400)
    assert [each.kind for each in look().problems] == ["snapshot", "drill"]
    monkeypatch.setattr(wiring, "clock", lambda: now)
    place = str(world.home.parent / "dr")
    snapshots.create(load(Path(CONFIG)), Home(world.home), "first", print, stopped=lambda: False)
    drill_log.add(world.home, drill_log.Drilled(place, "passed", now - 100.0), print)
    series = figures(look())
    assert one(series, "penstock_snapshot_age_seconds") == pytest.approx(0.0, abs=1)
    assert one(series, "penstock_drill_age_seconds") == pytest.approx(100.0, abs=1)
    assert one(series, "penstock_drill_passed") == 1
    drill_log.add(world.home, drill_log.Drilled(place, "failed", now - 50.0, ("a blob is gone",)), print)
    found = look()
    assert one(figures(found), "penstock_drill_passed") == 0
    assert [(each.kind, "a blob is gone" in each.said) for each in found.problems] == [("drill-failed", True)]
    monkeypatch.setattr(wiring, "clock", lambda: now + 3 * 86_400)
    assert {each.kind for each in look().problems} == {"snapshot", "drill", "drill-failed"}


def test_a_source_that_is_staler_than_its_objective_is_a_problem(
    world: World, look: Callable[[], Look], monkeypatch: Any
) -> None:
    """Its age and its objective are among the figures."""
    configure('[sources.docs]\npath = "docs"\nfreshness = "15m"')
    world.write("a.txt", "alpha text")
    world.ingest("docs", config=CONFIG)
    kept = freshness.read(world.home)["docs"]
    assert look().problems == ()
    at = kept.as_of + 3_600
    monkeypatch.setattr(wiring, "clock", lambda: at)
    found = look()
    assert [(each.kind, each.subject) for each in found.problems] == [("freshness", "docs")]
    series = figures(found)
    assert by(series, "penstock_freshness_seconds", "source") == {"docs": pytest.approx(3_600)}
    assert by(series, "penstock_freshness_objective_seconds", "source") == {"docs": 900}


def test_budgets_and_breakers_are_those_of_the_shared_ledger(world: World, look: Callable[[], Look]) -> None:
    """What runs and machines share, looked at and not changed; a source that was never asked has used nothing."""
    configure(wiki("wiki"), wiki("idle"))
    homes.create(world.home)
    ledger = FileLedger(world.home / "budgets")

    def used(value: bytes) -> tuple[bytes, None]:
        state = decoded(value, wiring.clock())
        state.quota.turn(state.clock.read("host", wiring.clock()))
        state.quota.spent, state.breaker.failures = 250, 8
        return encoded(state), None

    ledger.change("wiki", used)
    before = ledger.path("wiki").read_bytes()
    found = look()
    series = figures(found)
    assert by(series, "penstock_source_breaker_open", "source") == {"wiki": 1, "idle": 0}
    shares = {(dict(k)["source"], dict(k)["budget"]): v for k, v in series["penstock_source_budget_used_ratio"].items()}
    assert shares[("wiki", "per_day")] == 0.25 and shares[("idle", "per_day")] == 0
    assert [(each.kind, each.subject) for each in found.problems] == [("breaker", "wiki")]
    assert ledger.path("wiki").read_bytes() == before and not ledger.path("idle").exists()


def wiki(name: str) -> str:
    return (
        f'[sources.{name}]\ntype = "mediawiki"\nurl = "https://{name}.example.com/api.php"\n'
        f"[sources.{name}.budget]\nper_day = 1000"
    )


# ── what hangs ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_replica_that_hangs_is_said_and_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look ends in bounded time, and look after look costs no more than the one thread."""
    world.write("a.txt", "alpha text")
    world.ingest()
    monkeypatch.setattr(watching, "PATIENCE", 0.3)
    free, real = threading.Event(), parts.replica

    def hangs(store: Any) -> Any:
        if store.name.endswith("/1"):
            free.wait(120)
        return real(store)

    monkeypatch.setattr(parts, "replica", hangs)
    watcher = Watcher(load(None), Home(world.home), print)
    try:
        began = time.monotonic()
        found = watcher.look()
        assert time.monotonic() - began < 60
        assert not found.replicas["1"].up and found.replicas["0"].up and found.late == ("replica 1",)
        assert found.under_replicated is None, "what it lacks is not nothing, but unknown"
        assert [(each.kind, each.subject, each.patience) for each in found.problems] == [("replica", "1", 600.0)]
        busy = threading.active_count()
        for _ in range(5):
            assert not watcher.look().replicas["1"].up
        assert threading.active_count() <= busy + 1
    finally:
        free.set()
        watcher.close()


def test_a_store_that_hangs_is_said_and_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is claimed of it: neither that it is behind nor that it has no snapshot."""
    configure("[snapshots]", 'store = "dr"')
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    monkeypatch.setattr(watching, "PATIENCE", 0.3)
    free, real = threading.Event(), archives.archive

    def hangs(*arguments: Any) -> Any:
        free.wait(120)
        return real(*arguments)

    monkeypatch.setattr(archives, "archive", hangs)
    watcher = Watcher(load(Path(CONFIG)), Home(world.home), print)
    try:
        for _ in range(3):
            found = watcher.look()
            (store,) = found.stores.values()
            assert (store.up, store.lag_versions, store.snapshot_age) == (False, None, None)
            assert [each.kind for each in found.problems] == ["store"]
        at = wiring.clock() + 30 * 86_400
        monkeypatch.setattr(wiring, "clock", lambda: at)
        assert "snapshot" not in {each.kind for each in watcher.look().problems}
    finally:
        free.set()
        watcher.close()


def test_who_still_owes_an_answer_is_not_asked_again() -> None:
    """The others are; and when it came at last, it is asked anew."""
    free, calls = threading.Event(), list[str]()
    ask = Asking()

    def slow() -> int:
        calls.append("slow")
        free.wait(120)
        return 1

    for _ in range(3):
        assert ask({"slow": slow, "quick": lambda: 2}, 0.1) == {"quick": 2}
    assert calls == ["slow"]
    free.set()
    while not (found := ask({"slow": slow}, 5.0)):
        pass
    assert found == {"slow": 1} and calls == ["slow", "slow"]


def test_a_question_that_fails_is_an_answer() -> None:
    """And does not keep the next look from asking."""
    ask = Asking()

    def fails() -> int:
        raise OSError("gone")

    for _ in range(2):
        assert isinstance(ask({"a": fails}, 5.0)["a"], OSError)


def test_probes_are_the_same_until_the_version_changes(world: World) -> None:
    """The reader is kept, goes on to new versions by itself, and searches what is there."""
    for number in range(12):
        world.write(f"{number}.txt", f"text number {number}")
    world.ingest()
    probing = searching.Searching(lambda: Reader.open(world.home))
    first = probing.look()
    assert first is not None and len(first.searches) == searching.PROBES
    reader = probing.reader
    world.write("more.txt", "more text")
    world.ingest()
    second = probing.look()
    assert second is not None and second.manifest.version == first.manifest.version + 1 and probing.reader is reader
    probing.close()


# ── what is remembered ───────────────────────────────────────────────────────────────────────────────────


def test_somebody_is_told_once_of_what_lasts_and_again_when_it_comes_back() -> None:
    """Not at each look, not before its patience is over, and anew after it was well."""
    away, slow = Problem("replica", "1", "away"), Problem("store", "dr", "no answer", patience=600)
    known = Remembered().seen([away, slow], 1_000.0)
    assert known.due([away, slow], 1_000.0) == [away]
    known = known.telling([away]).seen([away, slow], 1_700.0)
    assert known.due([away, slow], 1_700.0) == [slow]
    known = known.telling([slow]).seen([away, slow], 1_800.0)
    assert known.due([away, slow], 1_800.0) == []
    known = known.seen([slow], 1_900.0).seen([away, slow], 2_000.0)
    assert known.due([away, slow], 2_000.0) == [away]


def test_looks_of_processes_of_their_own_add_up_in_the_textfile(world: World, look: Callable[[], Look]) -> None:
    """A rate of searches would be nothing where each look began anew."""
    configure("[metrics]", 'textfile = "prom"')
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    for count in (1, 2, 3):
        textfiles.leave(load(Path(CONFIG)), world.home, look(), print)
        (path,) = Path("prom").glob("penstock-watch-*.prom")
        assert one(parse(path.read_bytes()), "penstock_search_seconds_count") == count
    (world.home / remembered.FILE).write_text("{")
    notes: list[str] = []
    textfiles.leave(load(Path(CONFIG)), world.home, look(), notes.append)
    assert one(parse(path.read_bytes()), "penstock_search_seconds_count") == 1 and notes == []


def test_a_textfile_that_cannot_be_written_is_noted(world: World, look: Callable[[], Look]) -> None:
    """The look stands."""
    configure("[metrics]", 'textfile = "/proc/self/prom"')
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    notes: list[str] = []
    textfiles.leave(load(Path(CONFIG)), world.home, look(), notes.append)
    assert len(notes) == 1 and "could not be written" in notes[0]


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def test_once_says_the_verdict_and_ends_with_1_if_something_is_wrong(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people, and for programs with --json."""
    world.write("a.txt", "alpha text")
    world.ingest()
    where = ["--home", str(world.home)]
    assert cli.main(["watch", "--once", *where]) == 0
    assert capsys.readouterr().out.startswith("Well: version 1, nothing to see to.")
    (world.home / "replicas" / "1").rename(world.home / "away")
    assert cli.main(["watch", "--once", *where]) == 1
    assert capsys.readouterr().out.startswith("Replica 1: ")
    assert cli.main(["watch", "--once", "--json", *where]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["replicas"]["1"]["up"], said["problems"][0]["kind"]) == (False, False, "replica")
    assert cli.main(["watch", "--once", "--listen", *where]) == 2
    assert cli.main(["watch", "--listen", "everywhere:9464", *where]) == 2


def test_prometheus_is_served_by_a_process_that_stays(world: World) -> None:
    """The parser of the client library reads what it serves; many scrapes cost one look; it ends when it is told to.

    The home's name has a quote, a line end and a backslash in it, and comes back whole.
    """
    world.home = world.home.parent / 'ho"m\\e\nx'
    world.write("a.txt", "alpha text")
    account = world.ingest()
    command = [sys.executable, "-m", "penstock.flows.cli", "watch", "--listen", "127.0.0.1:0", "--every", "600"]
    with subprocess.Popen(
        [*command, "--home", str(world.home)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None and process.stdout is not None
            url = process.stderr.readline().split("serving ")[1].strip()
            assert process.stdout.readline().startswith("Well: version 1")
            pages = [get(url) for _ in range(20)]
            assert {status for status, _ in pages} == {200}
            series = parse(pages[0][1])
            assert one(series, "penstock_version") == account.version
            assert {dict(labels)["home"] for labels in series["penstock_version"]} == {str(world.home)}
            assert len({page for _, page in pages}) == 1, "a scrape looked"
            root = url.removesuffix("/metrics")
            assert get(f"{root}/healthz") == (200, b"ok\n")
            assert get(f"{root}/etc/passwd")[0] == 404 and get(url, "POST")[0] == get(url, "HEAD")[0] == 405
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0
        finally:
            process.kill()


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_flow_calls_somebody_once_for_each_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends Completed, named Problems; what is well again may be told anew; freshness is told by its own event."""
    flow, told, pages = flowing(monkeypatch)
    configure('[sources.docs]\npath = "docs"\nfreshness = "15m"', "[metrics]", 'textfile = "prom"')
    world.write("a.txt", "alpha text")
    world.ingest("docs", config=CONFIG)
    where = {"home": str(world.home), "config": CONFIG}
    state = flow(**where)
    assert (state.name, state.type.value, told) == ("Completed", "COMPLETED", [])
    (world.home / "replicas" / "1").rename(world.home / "away")
    at = wiring.clock() + 3_600
    monkeypatch.setattr(wiring, "clock", lambda: at)
    for _ in range(3):
        state = flow(**where)
        assert (state.name, state.type.value) == ("Problems", "COMPLETED") and state.message.startswith("Replica 1")
    assert [(event, source) for event, source, _ in told] == [
        ("penstock.replica.degraded", ""),
        ("penstock.freshness.breached", "docs"),
    ]
    assert told[0][2]["subject"] == "1" and told[1][2]["objective_seconds"] == 900
    (world.home / "away").rename(world.home / "replicas" / "1")
    flow(**where)
    (world.home / "replicas" / "1").rename(world.home / "away")
    flow(**where)
    assert [event for event, _, _ in told][2:] == ["penstock.replica.degraded"]
    assert "| replica |" in pages[-1] and len(pages) == 6
    (path,) = Path("prom").glob("penstock-watch-*.prom")
    assert one(parse(path.read_bytes()), "penstock_watch_problems") == 2


def test_before_the_first_ingest_there_is_nothing_to_look_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new deployment's first looks call nobody."""
    flow, told, pages = flowing(monkeypatch)
    state = flow(home=str(world.home))
    assert (state.name, state.type.value, told, pages) == ("Skipped", "COMPLETED", [], [])
    assert not world.home.exists()


def test_a_store_that_is_too_far_behind_is_told_as_a_problem_of_the_watch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kind in its payload, and what helps."""
    flow, told, _ = flowing(monkeypatch)
    configure("[snapshots]", 'store = "dr"', "during_runs = false")
    Path("dr").mkdir()
    world.write("a.txt", "alpha text")
    world.ingest(config=CONFIG)
    at = wiring.clock() + 3_600
    monkeypatch.setattr(wiring, "clock", lambda: at)
    flow(home=str(world.home), config=CONFIG)
    assert [(event, payload["kind"], payload["step"]) for event, _, payload in told] == [
        ("penstock.watch.problem", "ship", "penstock ship")
    ]


def flowing(monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[..., Any], list[tuple[str, str, Any]], list[str]]:
    """The body of the flow, the events that it sends, and the pages that it leaves."""
    import logging

    from penstock.flows import watch

    told: list[tuple[str, str, Any]] = []
    pages: list[str] = []
    monkeypatch.setattr(watch, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(watch, "emit", lambda event, home, payload, source="": told.append((event, source, payload)))
    monkeypatch.setattr(watch, "create_markdown_artifact", lambda **said: pages.append(said["markdown"]))
    return watch.watch.fn, told, pages


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_served_before_the_first_look_and_old_looks_are_not_alive() -> None:
    """Prometheus sees a failed scrape, and no zeros; whoever restarts what hangs learns that no look came."""
    now = 1_000.0
    exporter = Exporter("127.0.0.1", 0, content_type=exposition.CONTENT_TYPE, fresh=60.0, clock=lambda: now)
    exporter.start()
    health = exporter.url.replace("/metrics", "/healthz")
    try:
        assert get(exporter.url)[0] == 503 and get(health)[0] == 503
        exporter.page = Page(b"a 1\n", now)
        assert get(exporter.url) == (200, b"a 1\n") and get(health)[0] == 200
        now += 61.0
        assert get(exporter.url)[0] == 200 and get(health)[0] == 503
    finally:
        exporter.close()


def test_clients_that_say_nothing_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many hold a place until their time is up; who comes beyond that is hung up on."""
    import socket

    from penstock.flows.metrics import exporter as module

    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module._Handler, "timeout", 0.3)
    exporter = Exporter("127.0.0.1", 0, content_type="text/plain", fresh=60.0, clock=lambda: 0.0)
    exporter.page = Page(b"a 1\n", 0.0)
    exporter.start()
    try:
        port = int(exporter.url.rpartition(":")[2].partition("/")[0])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        deadline = time.monotonic() + 60
        while get(exporter.url)[0] != 200:
            assert time.monotonic() < deadline
        for each in silent:
            each.close()
    finally:
        exporter.close()


@pytest.mark.parametrize(
    ("word", "host", "port", "everybody"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, False),
        (":9464", "127.0.0.1", 9464, False),
        ("9464", "127.0.0.1", 9464, False),
        ("localhost:1", "127.0.0.1", 1, False),
        ("[::1]:9464", "::1", 9464, False),
        ("0.0.0.0:9464", "0.0.0.0", 9464, True),
        ("[::]:9464", "::", 9464, True),
        ("10.1.2.3:9464", "10.1.2.3", 9464, True),
    ],
)
def test_other_machines_are_served_only_where_an_address_says_so(
    word: str, host: str, port: int, everybody: bool
) -> None:
    """Without a host it is this machine alone."""
    assert address(word) == (host, port) and open_to_all(host) is everybody


@pytest.mark.parametrize("word", ["", "a:b", "1.2.3.4:99999", "1.2.3.4:-1", "monitoring.example.com:9464", "::1:x"])
def test_an_address_that_is_none_is_refused(word: str) -> None:
    """A name might mean anything."""
    with pytest.raises(ValueError, match="write 127"):
        address(word)


def configure(*lines: str) -> None:
    Path(CONFIG).write_text("\n".join([*lines, ""]))


def figures(look: Look) -> Series:
    return parse(exposition.text(StateFigures(look.home).after(look)))


def get(url: str, method: str = "GET") -> tuple[int, bytes]:
    """(status, body); 0 where the server hung up."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""
