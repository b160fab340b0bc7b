"""Runs that want the same device or the same source: the urgent one goes first, and nothing is lost by it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import msgspec
import pytest

from penstock.embed.worker.process import WorkerEncoder
from penstock.flows import lending_wiring, model_wiring, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.config.home import Home
from penstock.flows.config.settings import load
from penstock.flows.runs import launch, slots, turns
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.committing import Committer
from penstock.flows.runs.events import Event as Told
from penstock.flows.runs.events import GaveWay, RunStarted, ShardPrepared
from penstock.flows.runs.prepare import ShardLimits
from penstock.flows.runs.slots import URGENT
from penstock.flows.runs.stop import Stop
from penstock.index.reading.reader import Reader
from penstock.index.types import DocState
from tests.embed.worker.engines import spec
from tests.fakes.encoder import HashEncoder
from tests.flows.conftest import World

ROOT = Path(__file__).parents[2]
DEVICE = "fake"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """What all runs tell."""
    events: list[Told] = []
    monkeypatch.setattr(wiring, "listeners", lambda settings, home: [events.append])
    return events


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run has a model of its own, and a holder looks after each batch."""
    monkeypatch.setattr(
        lending_wiring, "models", lambda settings, home, *_: model_wiring.encoders(settings, home, lambda line: None)
    )
    monkeypatch.setattr(turns, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(turns, "OWN_SECONDS", 0.0)


def one_shard(monkeypatch: pytest.MonkeyPatch, tokens: int = 1_000_000) -> None:
    monkeypatch.setattr(wiring, "ShardLimits", lambda: ShardLimits(first_tokens=tokens, growth=1))


def documents(world: World, count: int) -> None:
    for number in range(count):
        world.write(f"{number:02d}.txt", f"text number {number}")


def known(world: World) -> None:
    """The index knows the source, by one document."""
    world.write("seed.txt", "seed")
    world.ingest()
    identity, world.encoder = world.encoder.identity, HashEncoder()
    world.encoder.identity = identity


def briefly(seconds: float) -> None:
    """Whoever waits asks often, but leaves the others room to look."""
    time.sleep(0.002)


class Batches(Quiet):
    """An observer that calls `at[n]` after batch `n` of its run, in the thread that embeds."""

    def __init__(self, at: dict[int, Callable[[], object]]) -> None:
        self._at, self._count = at, 0
        self.notes: list[str] = []

    def advanced(self, documents: int, tokens: int) -> None:
        if tokens:
            self._count += 1
            self._at.get(self._count, lambda: None)()

    def note(self, message: str) -> None:
        self.notes.append(message)


class Favour:
    """Somebody urgent who wants the slot; has come when `ask` returns, and does `work` while it is his."""

    def __init__(self, work: Callable[[], object] = lambda: None, device: str = DEVICE) -> None:
        self._where, self._work, self._device = slots.directory(), work, device
        self._thread = Thread(target=self._go)
        self.had = Event()

    def ask(self) -> None:
        come = Event()
        self._come = come.set
        self._thread.start()
        assert come.wait(120)

    def _go(self) -> None:
        options = {"where": self._where, "sleep": briefly, "stopped": lambda: False, "priority": URGENT}
        with slots.hold(self._device, waiting=self._come, **options) as held:  # type: ignore[arg-type]
            assert held
            self._work()
            self.had.set()

    def ends(self) -> None:
        self._thread.join(120)
        assert self.had.is_set()


def run(world: World, observer: Quiet, *targets: Path, priority: str | None = "backfill") -> Accounting:
    words = tuple(str(target) for target in targets or (world.docs,))
    return launch.ingest(IngestRequest(home=str(world.home), targets=words, priority=priority), observer)


def vectors(world: World, home: Path) -> dict[str, bytes]:
    """Chunk id → the bits of its vector."""
    with Reader.open(home) as reader:
        uris = sorted(state.uri for state in reader.states("docs"))
        return {passage.row.chunk_id: passage.vector.tobytes() for passage in reader.passages(uris)}


# ── the device ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_backfill_gives_way_in_the_middle_of_a_shard_and_loses_no_vector(
    world: World, monkeypatch: pytest.MonkeyPatch, told: list[Told]
) -> None:
    """Twice in one shard: no batch is computed meanwhile, none twice, and the index is the same to the bit."""
    one_shard(monkeypatch)
    documents(world, 40)
    embedded: list[int] = []
    favours = [Favour(lambda: embedded.append(len(world.encoder.embedded))) for _ in range(2)]
    observer = Batches({3: favours[0].ask, 6: favours[1].ask})
    account = run(world, observer)
    for favour in favours:
        favour.ends()
    assert embedded == [12, 24], "as many as the batches before it made"
    assert (account.indexed, account.exit_code(), len(world.encoder.embedded)) == (40, 0, 40)
    assert [event.lent for event in told if isinstance(event, GaveWay)] == [False, False]
    assert sum("given to more urgent runs" in note for note in observer.notes) == 1
    undisturbed = world.home.parent / "undisturbed"
    launch.ingest(IngestRequest(home=str(undisturbed), targets=(str(world.docs),)), Quiet())
    assert vectors(world, world.home) == vectors(world, undisturbed)


def test_a_model_s_process_is_gone_while_others_have_its_accelerator(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one. It is started again when it is our turn, passes the gate again, and makes the same bits."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    one_shard(monkeypatch)
    documents(world, 24)
    workers: list[WorkerEncoder] = []

    def encoders(*_: object) -> dict[str, WorkerEncoder]:
        engine = "tests.embed.worker.engines:load"
        workers.append(WorkerEncoder(spec(), engine=engine, clock=time.monotonic, note=lambda line: None))
        return {"cuda-0": workers[-1]}

    monkeypatch.setattr(model_wiring, "encoders", encoders)
    alive: list[bool] = []
    favour = Favour(lambda: alive.append(workers[0]._loader._current is not None), "cuda-0")
    account = run(world, Batches({2: favour.ask}))
    favour.ends()
    assert (account.indexed, account.exit_code(), alive, workers[0].loads) == (24, 0, [False], 2)
    undisturbed = world.home.parent / "undisturbed"
    launch.ingest(IngestRequest(home=str(undisturbed), targets=(str(world.docs),)), Quiet())
    assert vectors(world, world.home) == vectors(world, undisturbed)
    assert workers[1].loads == 1


def test_nobody_gives_way_to_his_equals(world: World, monkeypatch: pytest.MonkeyPatch, told: list[Told]) -> None:
    """Urgent runs wait for one another."""
    one_shard(monkeypatch)
    documents(world, 20)
    favour = Favour()
    account = run(world, Batches({2: favour.ask}), priority="urgent")
    favour.ends()
    assert account.indexed == 20 and not any(isinstance(event, GaveWay) for event in told)


def test_an_endless_row_of_urgent_ones_does_not_stop_a_backfill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a batch done for every few of them."""
    one_shard(monkeypatch)
    documents(world, 24)
    over, turns_had = Event(), [0, 0]
    where = slots.directory()

    def again_and_again(number: int) -> None:
        options = {"where": where, "sleep": briefly, "stopped": over.is_set, "waiting": lambda: None}
        while not over.is_set():
            with slots.hold(DEVICE, priority=URGENT, **options) as held:  # type: ignore[arg-type]
                turns_had[number] += held

    with ThreadPoolExecutor(3) as pool:
        urgent = [pool.submit(again_and_again, number) for number in range(2)]
        try:
            account = pool.submit(run, world, Quiet()).result(120)
        finally:
            over.set()
        for each in urgent:
            each.result()
    assert (account.indexed, len(world.encoder.embedded)) == (24, 24) and sum(turns_had) > 6


def test_a_stop_while_it_waits_to_go_on_ends_the_run_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it made before it gave way is kept, and the next run makes the rest."""
    one_shard(monkeypatch)
    documents(world, 40)
    stop = Stop()
    monkeypatch.setattr(launch, "Stop", lambda: stop)
    done = Event()
    favour = Favour(lambda: (stop.request(), done.wait(120)))
    observer = Batches({3: favour.ask})
    account = run(world, observer)
    done.set()
    favour.ends()
    assert account.deferred == 40 and account.exit_code() == 1 and len(world.encoder.embedded) == 12
    monkeypatch.setattr(launch, "Stop", Stop)
    assert run(world, Quiet()).exit_code() == 0 and len(world.encoder.embedded) == 40 == len(world.rows())


def test_a_priority_is_that_of_the_request_else_that_of_the_sources(
    world: World, told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And listeners are told which."""
    Path("penstock.toml").write_text(
        '[sources.late]\npath = "docs"\npriority = "backfill"\n[sources.other]\npath = "other"\npriority = "urgent"\n'
    )
    Path("other").mkdir()
    world.write("a.txt", "alpha")
    for words, asked, resolved in (
        (("late",), None, "backfill"),
        (("late",), "urgent", "urgent"),
        (("late", "other"), None, "scheduled"),
        ((), None, "scheduled"),
        (("other",), None, "urgent"),
        ((str(world.docs / "a.txt"),), None, "scheduled"),
    ):
        request = IngestRequest(str(world.home), config="penstock.toml", targets=words, priority=asked)
        launch.ingest(request, Quiet())
        started = [event for event in told if isinstance(event, RunStarted)]
        assert started[-1].priority == resolved, words


# ── the source ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def beside(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Accounting]]:
    """Runs a backfill of the whole source, and `meanwhile` when its first batch is there, or its `after`th.

    What is urgent then has the device for one shard, and has ended before the backfill's next batch is there.
    """

    def go(meanwhile: Callable[[], object], after: int = 1) -> Accounting:
        failed: list[BaseException] = []

        def checked() -> None:
            try:
                one_shard(monkeypatch)
                meanwhile()
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=checked)

        def begins() -> None:
            thread.start()
            # it wants the slot, which is ours until we go on: then we see it and give way
            while thread.is_alive() and not slots.waiting_better(DEVICE, slots.BACKFILL, where=slots.directory()):
                thread.join(0.01)

        account = run(world, Batches({after: begins, after + 1: lambda: thread.join(120)}))
        thread.join(120)
        assert not failed, failed
        return account

    yield go


def urgent(world: World, *names: str) -> Accounting:
    return run(world, Quiet(), *(world.docs / name for name in names), priority="urgent")


def states(world: World) -> dict[str, tuple[str, str]]:
    """Name → (status, content) of what the index has of the source."""
    with Reader.open(world.home) as reader:
        return {state.uri.removeprefix("docs/"): (state.status, state.content) for state in reader.states("docs")}


def test_an_urgent_path_does_not_wait_for_the_run_that_works_on_its_source(
    world: World, beside: Callable[..., Accounting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is indexed while the other goes on, which counts it unchanged; no text is embedded twice; all adds up."""
    one_shard(monkeypatch)
    known(world)
    documents(world, 40)
    accounts: list[Accounting] = []
    backfill = beside(lambda: accounts.append(urgent(world, "39.txt", "38.txt")))
    assert (accounts[0].listed, accounts[0].indexed, accounts[0].exit_code()) == (2, 2, 0)
    assert (backfill.listed, backfill.indexed, backfill.unchanged, backfill.exit_code()) == (41, 38, 3, 0)
    assert len(world.encoder.embedded) == 40 == len(world.rows()) - 1
    assert world.ingest().unchanged == 41


def test_what_was_urgent_and_not_begun_yet_is_unchanged_too(
    world: World, beside: Callable[..., Accounting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shard that the backfill prepares after the urgent run has ended, and that has nothing else in it."""
    one_shard(monkeypatch, tokens=1)
    known(world)
    documents(world, 12)
    backfill = beside(lambda: urgent(world, "10.txt", "11.txt"))
    assert (backfill.indexed, backfill.unchanged, backfill.exit_code()) == (10, 3, 0)
    assert len(world.encoder.embedded) == 12 == len(world.rows()) - 1


def test_older_content_never_replaces_newer(
    world: World, beside: Callable[..., Accounting], monkeypatch: pytest.MonkeyPatch, told: list[Told]
) -> None:
    """Also where a shard of the backfill had nothing but documents that were changed: it makes no version, and the one
    that is there is somebody else's. What it could not bring in is deferred."""
    world.write("seed.txt", "text number 9")
    one_shard(monkeypatch, tokens=5 * world.ingest().tokens)
    documents(world, 6)
    names = [f"{number:02d}.txt" for number in range(6)]
    told.clear()

    def newer() -> None:
        while sum(isinstance(event, ShardPrepared) for event in told) < 2:
            time.sleep(0.01)
        for name in names:
            world.write(name, f"{name} is new")
        assert urgent(world, *names).indexed == 6

    backfill = beside(newer)
    assert [event.documents for event in told if isinstance(event, ShardPrepared)] == [5, 1, 6]
    assert (backfill.indexed, backfill.unchanged, backfill.deferred) == (0, 1, 6)
    assert {text for _, text in world.rows()} == {"text number 9", *(f"{name} is new" for name in names)}
    again = world.ingest()
    assert (again.unchanged, again.indexed) == (7, 0)


def test_a_run_is_not_blamed_for_what_a_later_one_changed(
    world: World, beside: Callable[..., Accounting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that the backfill has committed is changed again, and brought in, before the backfill is proved."""
    one_shard(monkeypatch, tokens=1)
    known(world)
    documents(world, 8)

    def newer() -> None:
        while "00.txt" not in states(world):
            time.sleep(0.01)
        world.write("00.txt", "new after it was committed")
        assert urgent(world, "00.txt").indexed == 1

    backfill = beside(newer, after=6)
    assert (backfill.indexed, backfill.exit_code()) == (8, 0)
    assert ("docs/00.txt", "new after it was committed") in world.rows()


def test_a_document_that_comes_back_is_not_called_gone(
    world: World, beside: Callable[..., Accounting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backfill did not find it when it listed; by the time that it deletes, the document is somebody else's."""
    one_shard(monkeypatch)
    world.write("was.txt", "here")
    world.ingest()
    (world.docs / "was.txt").unlink()
    documents(world, 10)

    def back() -> None:
        world.write("was.txt", "here again")
        assert urgent(world, "was.txt").indexed == 1

    backfill = beside(back)
    assert (backfill.indexed, backfill.deleted) == (10, 0)
    assert ("docs/was.txt", "here again") in world.rows()


def test_an_urgent_run_infers_no_deletion_and_takes_no_shard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run left in the spool is for whoever has the source; only one runs beside it, others wait their turn."""
    one_shard(monkeypatch)
    known(world)
    documents(world, 30)
    stop = Stop()
    monkeypatch.setattr(launch, "Stop", lambda: stop)
    run(world, Batches({2: stop.request}))
    monkeypatch.setattr(launch, "Stop", Stop)
    left = sorted(path.name for path in (world.home / "spool").glob("shard-*"))
    assert left
    (world.docs / "05.txt").unlink()
    locks = wiring.locks(load(None), Home(world.home))
    working = locks.take("source.docs")
    assert working is not None
    observer = Batches({})
    account = run(world, observer, world.docs / "07.txt", priority="urgent")
    assert (account.listed, account.indexed, account.deleted, account.resumed) == (1, 1, 0, 0)
    assert sorted(path.name for path in (world.home / "spool").glob("shard-*")) == left
    assert any("goes ahead beside" in note for note in observer.notes)
    other = locks.take("urgent.docs")
    assert other is not None
    with ThreadPoolExecutor(1) as pool:
        waits = Waits()
        second = pool.submit(run, world, waits, world.docs / "08.txt", priority="urgent")
        assert waits.said.wait(120) and not second.done()
        other.release()
        assert second.result(120).indexed == 1
    working.release()
    rest = run(world, Quiet())
    assert rest.resumed == 27 and (rest.unchanged, rest.indexed, rest.exit_code()) == (3, 27, 0)


def test_what_lies_in_the_spool_is_left_to_whoever_has_the_source(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the urgent run wants all of it; then the other one takes it over."""
    one_shard(monkeypatch)
    known(world)
    for number in range(12):
        world.write(f"part/{number}.txt", f"text number {number}")
    stop = Stop()
    monkeypatch.setattr(launch, "Stop", lambda: stop)
    run(world, Batches({1: stop.request}))
    monkeypatch.setattr(launch, "Stop", Stop)
    left = sorted((world.home / "spool").glob("shard-*"))
    working = wiring.locks(load(None), Home(world.home)).take("source.docs")
    assert left and working is not None
    account = urgent(world, "part")
    assert (account.indexed, account.resumed) == (12, 0)
    assert sorted((world.home / "spool").glob("shard-*")) == left
    working.release()
    assert run(world, Quiet()).unchanged == 13


@pytest.mark.parametrize("beside_another", [True, False])
def test_how_far_a_source_was_read_is_said_by_whoever_has_it(world: World, beside_another: bool) -> None:
    """A run beside it does not bring back the cursor that it knew."""
    world.write("a.txt", "alpha")
    world.ingest()
    with wiring.open_writer(load(None), Home(world.home), lambda line: None) as writer:
        head = writer.head()
        mine = msgspec.structs.replace(head.sources["docs"], cursor="as it was")
        committer = Committer(
            writer,
            base_version=head.version,
            identity={},
            sources={"docs": mine},
            beside={"docs"} if beside_another else (),
        )
        committer.commit_states("docs", [DocState("docs/b.txt", "docs", "failed", "1", reason="vanished")])
        assert writer.head().version == head.version + 1
        assert writer.head().sources["docs"].cursor == ("" if beside_another else "as it was")


@pytest.mark.parametrize(("priority", "part"), [("scheduled", True), ("urgent", False)])
def test_everybody_else_waits_for_the_source(world: World, priority: str, part: bool) -> None:
    """A path that is not urgent, and a whole source that is."""
    world.write("a.txt", "alpha")
    world.ingest()
    working = wiring.locks(load(None), Home(world.home)).take("source.docs")
    assert working is not None
    with ThreadPoolExecutor(1) as pool:
        waits = Waits()
        target = world.docs / "a.txt" if part else world.docs
        waiting: Future[Accounting] = pool.submit(run, world, waits, target, priority=priority)
        assert waits.said.wait(120) and not waiting.done()
        working.release()
        assert waiting.result(120).unchanged == 1


class Waits(Quiet):
    """Says when it was told that a source is waited for."""

    def __init__(self) -> None:
        self.said = Event()

    def note(self, message: str) -> None:
        if "waiting for it" in message:
            self.said.set()
