"""What people see of a run while it goes on is right, bounded, and never in its way."""

from __future__ import annotations

import base64
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows import maintain, naming, recover, watch
from penstock.flows.answers.progress import Quiet
from penstock.flows.runs.accounting import IngestRequest, Retry
from penstock.flows.runs.events import (
    CommitLanded,
    DocumentPrepared,
    GaveWay,
    Listed,
    ReplicaLeftOut,
    RunStarted,
    ShardPrepared,
    SourceWaits,
)
from penstock.flows.telling import names, tags
from penstock.flows.telling.aside import MOST, Aside
from penstock.flows.telling.emit import home_id
from penstock.flows.telling.figures import Figures
from penstock.flows.telling.live import Live
from penstock.flows.telling.news import AGAIN_SECONDS, COMMITS_SECONDS, News, Newsroom
from penstock.flows.telling.plot import data_uri, svg
from penstock.flows.telling.series import BINS, Samples, Series

T = 1_800_000_000.0
PATIENCE = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = T

    def __call__(self) -> float:
        return self.now


class Board:
    """A place in Prefect that answers, breaks or hangs."""

    def __init__(self, *, broken: bool = False, hangs: bool = False) -> None:
        self.broken, self.hangs, self.free = broken, hangs, threading.Event()
        self.lines: list[tuple[float, str]] = []
        self.plots: list[str] = []
        self.tags: list[list[str]] = []
        self.seen = threading.Event()

    def progress(self, share: float, line: str) -> None:
        self._trouble()
        self.lines.append((share, line))

    def plot(self, image: str) -> None:
        self._trouble()
        self.plots.append(image)

    def tag(self, sources: Iterable[str], priority: str) -> None:
        self._trouble()
        self.tags.append(tags.tags(sources, priority))

    def _trouble(self) -> None:
        self.seen.set()
        if self.hangs:
            self.free.wait(PATIENCE)
        if self.broken:
            raise OSError("the server is away")


def shard(number: int) -> ShardPrepared:
    return ShardPrepared(f"s{number}", "docs", documents=10, chunks=20, tokens=4000, seconds=1.0)


def test_a_run_is_followed_from_its_listing_to_its_end() -> None:
    """Tags by what was listed, progress by what landed, a picture at the end, commits as events."""
    clock, board, sent = Clock(), Board(), list[News]()
    live = Live(board, sent.append, clock=clock, monotonic=clock, every=0.01)
    watched = live.watching(Quiet())
    live.heard(RunStarted("r", "/home", "backfill", T))
    live.heard(Listed("docs", 20, 20, 0, 0, 0))
    watched.stage("embedding")
    watched.planned(20, 1000)
    for number in (1, 2):
        clock.now += 10
        live.heard(shard(number))
        watched.advanced(0, 4000)
        live.heard(CommitLanded(f"s{number}", "docs", number, {"indexed": 10}, chunks=20))
        watched.advanced(10, 0)
        watched.committed(number)
    assert live.close(PATIENCE)
    assert board.tags[-1] == ["penstock", "priority:backfill", "source:docs"]
    assert board.lines[-1][0] == 1.0 and "20 of 20 documents searchable, version 2" in board.lines[-1][1]
    assert len(board.plots) == 1 and board.plots[0].startswith("data:image/svg+xml;base64,")
    commits = [one for one in sent if one.event == names.COMMIT]
    assert sum(one.payload["documents"]["indexed"] for one in commits) == 20
    assert commits[-1].payload["version"] == 2 and commits[-1].sources == ("docs",)


@pytest.mark.parametrize("trouble", ["hangs", "broken"])
def test_a_server_in_trouble_never_holds_up_a_run(trouble: str) -> None:
    """Whatever is told to it, and however much: what does not fit is dropped, and the end waits only so long."""
    clock, board = Clock(), Board(**{trouble: True})
    live = Live(board, lambda news: board.progress(0, ""), clock=clock, monotonic=clock, every=0.01)
    watched = live.watching(Quiet())
    watched.planned(10, 10)
    live.heard(Listed("docs", 1, 1, 0, 5, 0))
    assert board.seen.wait(PATIENCE)
    for number in range(10 * MOST):
        clock.now += COMMITS_SECONDS
        live.heard(CommitLanded("s", "docs", number, {"indexed": 1}))
        watched.advanced(1, 10)
    if trouble == "hangs":
        assert not live.close(0.05)
    board.free.set()
    assert live.close(PATIENCE)


def test_a_run_that_found_nothing_to_do_leaves_no_progress() -> None:
    """A schedule that looks every five minutes would fill the page with it."""
    clock, board = Clock(), Board()
    live = Live(board, lambda news: None, clock=clock, monotonic=clock)
    live.heard(RunStarted("r", "/home", "scheduled", T))
    live.heard(Listed("docs", 20, 0, 0, 0, 0))
    assert live.close(PATIENCE)
    assert (board.lines, board.plots) == ([], []) and len(board.tags) == 1


def test_jobs_that_raise_do_not_end_the_others() -> None:
    """One event that the server refuses costs that event."""
    done: list[int] = []
    aside = Aside(lambda last: done.append(0), Clock(), every=3600)
    aside.put(lambda: 1 / 0)
    aside.put(lambda: done.append(1))
    assert aside.close(PATIENCE) and done[-2:] == [1, 0]


def test_commits_are_summed_up() -> None:
    """At most one event every ten seconds, with nothing lost between two of them."""
    clock = Clock()
    room, sent = Newsroom(clock), list[News]()
    for number in range(100):
        clock.now += 1.0
        sent += room.heard(CommitLanded("s", f"src{number % 2}", number, {"indexed": 3, "failed": 1}, chunks=7))
    sent += room.last()
    assert len(sent) <= 100 / COMMITS_SECONDS + 2
    assert sum(one.payload["documents"]["indexed"] for one in sent) == 300
    assert sum(one.payload["commits"] for one in sent) == 100 and sum(one.payload["chunks"] for one in sent) == 700
    assert sent[-1].payload["version"] == 99 and set(sent[-1].sources) <= {"src0", "src1"}
    assert room.last() == [] and room.rest() == []


def test_an_open_breaker_is_news_once_until_the_source_answered() -> None:
    """Each probe that fails is no news; a source that gave documents and broke again, later, is."""
    clock = Clock()
    room, wait = Newsroom(clock), SourceWaits("wiki", "it kept failing", 30.0, breaker=True)
    first = room.heard(wait)
    assert [(one.event, one.sources) for one in first] == [(names.BREAKER_OPEN, ("wiki",))]
    clock.now += AGAIN_SECONDS + 1
    assert room.heard(wait) == []
    room.heard(DocumentPrepared("wiki", "wiki/a", "indexed", "", "", 1, 0.1))
    assert len(room.heard(wait)) == 1
    room.heard(DocumentPrepared("wiki", "wiki/a", "indexed", "", "", 1, 0.1))
    assert room.heard(wait) == []  # on and off again within minutes
    assert room.heard(SourceWaits("wiki", "it asks everybody to wait", 30.0, breaker=False)) == []


def test_other_news_say_what_to_do() -> None:
    """Withheld deletions with the command that believes them, a replica with its problem, now and then at most."""
    clock = Clock()
    room = Newsroom(clock)
    (withheld,) = room.heard(Listed("docs", 5, 0, 0, 30, 0))
    assert withheld.event == names.DELETIONS_WITHHELD
    assert withheld.payload["if_they_are_really_gone"] == "penstock ingest docs --confirm-deletions 30"
    (out,) = room.heard(ReplicaLeftOut("b", "the disk is gone"))
    assert (out.event, out.payload) == (names.REPLICA_DEGRADED, {"replica": "b", "problem": "the disk is gone"})
    assert room.heard(ReplicaLeftOut("b", "late")) == [] and len(room.heard(ReplicaLeftOut("c", "late"))) == 1


def test_a_home_is_named_by_plain_letters() -> None:
    """An automation matches the resource by its id, whatever the path."""
    assert home_id("/srv/ein Heim/.penstock").removeprefix("penstock.home.").isalnum()
    assert home_id("/a") != home_id("/b")


def test_figures_say_how_fast_and_how_long() -> None:
    """Tokens flow while documents wait for their shard; the time that the device was lent is not ours."""
    clock = Clock()
    figures = Figures(clock)
    figures.stage("embedding")
    figures.planned(100)
    assert figures.line() == "embedding: 0 of 100 documents searchable"
    figures.advanced(0, 0)
    figures.heard(shard(1))
    for _ in range(10):
        clock.now += 1
        figures.advanced(0, 400)
    assert figures.share() == pytest.approx(0.1)
    assert figures.line() == "embedding: 400 tokens/s, 1 min 30 s left; 0 of 100 documents searchable"
    clock.now += 100
    figures.heard(GaveWay("cpu", 100.0, lent=True))
    assert "1 min 30 s left" in figures.line() and "tokens/s" not in figures.line()
    figures.advanced(100, 0)
    figures.committed(7)
    assert figures.share() == 1.0 and "100 of 100 documents searchable, version 7" in figures.line()


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5000), st.integers(1, 30)), max_size=40), st.integers(1, 200)
)
def test_progress_never_goes_back_and_is_whole_only_at_the_end(steps: list[tuple[int, int, int]], total: int) -> None:
    """However wrong the guess about the tokens to come is."""
    clock, before, done = Clock(), 0.0, 0
    figures = Figures(clock)
    figures.planned(total)
    for documents, tokens, prepared in steps:
        clock.now += 1
        figures.heard(ShardPrepared("s", "docs", prepared, prepared, prepared * 100, 1.0))
        figures.advanced(documents, tokens)
        done += documents
        share = figures.share()
        assert before <= share <= 1 and (share < 1 or done >= total)
        before = share


@given(
    st.lists(st.tuples(st.sampled_from(["prepared", "embedded"]), st.integers(0, 9999), st.floats(0, 900)), max_size=60)
)
def test_a_series_loses_no_token_and_stays_small(steps: list[tuple[str, int, float]]) -> None:
    """Whatever the length of the run, the spans double and their sums stay."""
    now = T
    series, sums = Series(T), {"prepared": 0, "embedded": 0}
    for stage, tokens, passed in steps:
        now += passed
        series.add(stage, tokens, now, seconds=passed)
        series.committed(now)
        sums[stage] += tokens
    end = now + 1
    series.add("embedded", 0, end)
    samples = series.samples(end)
    assert all(len(rates) <= BINS for rates in samples.rates.values()) and len(samples.commits) <= BINS
    for stage, rates in samples.rates.items():
        total = 0.0
        for place, rate in enumerate(rates):
            span = max(min(samples.width, samples.seconds - place * samples.width), 0.25 * samples.width)
            total += rate * span
        assert total == pytest.approx(sums[stage], abs=1e-3)


@given(
    st.builds(
        Samples,
        st.floats(1, 4096),
        st.floats(0, 4096 * BINS),
        st.fixed_dictionaries(
            {stage: st.lists(st.floats(0, 1e7), max_size=BINS).map(tuple) for stage in ("prepared", "embedded")}
        ),
        st.lists(st.integers(0, BINS - 1), max_size=BINS).map(tuple),
    )
)
def test_a_plot_is_a_picture_whatever_is_in_it(samples: Samples) -> None:
    """Well-formed, within its frame, with axes, and small enough to be kept."""
    picture = svg(samples)
    root = ElementTree.fromstring(picture)
    lines = [line for line in root.iter() if line.tag.endswith("polyline")]
    assert len(lines) == 2 and len(picture) < 60_000
    for line in lines:
        for point in line.get("points", "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 861 and 0 <= y <= 321
    words = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert "time since the run began" in words and "Throughput, tokens/s" in words and "0" in words
    assert base64.b64decode(data_uri(picture).partition(",")[2]).decode() == picture


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("request_", "title"),
    [
        (IngestRequest("/h", targets=("handbook",)), "ingest handbook"),
        (IngestRequest("/h"), "ingest handbook, wiki"),
        (
            IngestRequest("/h", targets=("wiki",), since=at("2026-11-01"), priority="backfill"),
            "backfill wiki since 2026-11-01",
        ),
        (IngestRequest("/h", targets=("/srv/docs/handbook/a.md",), priority="urgent"), "urgent handbook/a.md"),
        (IngestRequest("/h", targets=("wiki",), retry=Retry("wiki", "throttled")), "retry wiki throttled"),
        (IngestRequest("/h", targets=("wiki",), dry_run=True), "ingest wiki (dry run)"),
    ],
)
def test_a_run_is_called_by_what_it_is_for(request_: IngestRequest, title: str) -> None:
    """What a person looks for in the list of runs: the purpose, the source, the window."""
    assert tags.title(request_, ["handbook", "wiki"]) == title


def test_a_deployed_run_has_the_same_name_before_its_parameters_are_understood() -> None:
    """Prefect names it before the flow begins."""
    given = {"sources": ["wiki"], "since": "30d", "until": None}
    assert tags.asked("penstock-backfill", given) == "backfill wiki since 30d"
    assert tags.asked("penstock-urgent", {"paths": ["/srv/docs/handbook/a.md"]}) == "urgent handbook/a.md"
    assert tags.asked("penstock-retry", {"source": "wiki", "reason": "throttled"}) == "retry wiki throttled"
    assert tags.asked("penstock-ingest", {"sources": None, "priority": "scheduled"}, ["a", "b"]) == "ingest a, b"
    assert tags.asked("penstock-ingest", {"sources": ["w"], "retry": True}) == "retry w"
    hostile = tags.asked("penstock-urgent", {"paths": ["/x/\x1b[31mé\n" + "y" * 300]})
    assert len(hostile) <= tags.MOST and "\x1b" not in hostile and "\n" not in hostile


def test_a_path_that_leads_elsewhere_is_named_as_it_was_said() -> None:
    """Its last parts alone would seem to be of the configuration's folder."""
    assert tags.asked("penstock-urgent", {"paths": ["../../etc/passwd"]}) == "urgent ../../etc/passwd"
    assert tags.asked("penstock-urgent", {"paths": ["/etc/passwd"]}) == "urgent /etc/passwd"
    assert len(tags.asked("penstock-urgent", {"paths": ["../" * 300]})) == tags.MOST


@pytest.mark.parametrize("flow", [maintain.compact, maintain.scrub, recover.ship, recover.drill, watch.watch])
def test_upkeep_is_named_after_its_index(flow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the configuration where it cannot be read: the run itself says what is wrong with it."""
    config = tmp_path / "kb" / "penstock.toml"
    config.parent.mkdir()
    config.write_text('home = "index"\n')
    verb = flow.name.removeprefix("penstock-")
    for parameters, said in (
        ({"config": str(config)}, f"{verb} kb/index"),
        ({"config": str(config), "home": "/srv/kb/.penstock"}, f"{verb} kb/.penstock"),
        ({"config": "/srv/kb/nowhere.toml"}, f"{verb} kb/nowhere.toml"),
    ):
        monkeypatch.setattr(naming, "flow_run", SimpleNamespace(flow_name=flow.name, parameters=parameters))
        assert flow.flow_run_name() == said


def test_tags_say_what_holds_for_this_run() -> None:
    """A deployment's own stay; what it says of source and priority does not, where the run has others."""
    before = ["config:1234abcd", "priority:scheduled", "source:wiki", "mine"]
    found = tags.tags(["handbook"], "urgent", before)
    assert found == ["config:1234abcd", "mine", "penstock", "priority:urgent", "source:handbook"]
    assert len(tags.tags((f"s{number}" for number in range(500)), "scheduled")) == tags.MOST_TAGS
