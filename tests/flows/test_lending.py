"""A run that has the model loaded makes vectors for a more urgent one; whatever goes wrong costs that one only time."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.types import EncoderUnavailable
from penstock.flows import lending_wiring, model_wiring
from penstock.flows.config.settings import load
from penstock.flows.lending.counter import Answer, Ask, Card, Counter
from penstock.flows.lending.guest import AT_ONCE, MOST, LentEncoder, Standby
from penstock.flows.lending.lender import Lender
from penstock.flows.runs import slots
from penstock.flows.runs.events import Event, GaveWay
from penstock.flows.runs.loading import Device, Devices, Here
from penstock.flows.runs.stop import Halted
from tests.fakes.encoder import DIM, HashEncoder
from tests.flows.conftest import World

HOST, GUEST = Card("m", slots.BACKFILL, DIM, {"device": "fake"}), Card("m", slots.URGENT)
TEXTS = [(1, 2, 3), (4,), tuple(range(30)), (5, 6)]


def counter(folder: Path) -> Counter:
    numbers = count()
    return Counter(folder / "lending", lambda: f"{id(numbers):x}-{next(numbers)}")


def guest(at: Counter, card: Card = GUEST, patience: float = 20.0, lost: Callable[[], object] = bool) -> LentEncoder:
    return LentEncoder(
        at, card, HOST, {}, clock=time.monotonic, sleep=time.sleep, stopped=lambda: False, patience=patience, lost=lost
    )


@contextmanager
def lender(tmp_path: Path, encoder: HashEncoder, told: list[Event] | None = None) -> Iterator[Devices]:
    """A run that lends, with one device that it does not use by itself."""
    devices = Devices({"cpu": Here(lambda: encoder)}, lambda: False, lambda line: None)
    lending = Lender(
        counter(tmp_path), HOST, devices, slots_directory=tmp_path, clock=time.monotonic, sleep=time.sleep,
        tell=(told if told is not None else []).append, note=pytest.fail,
    )  # fmt: skip
    with lending:
        while counter(tmp_path).host_of(GUEST) is None:
            time.sleep(0.01)
        yield devices
    devices.close()


def vectors(encoder: LentEncoder | HashEncoder, ids: list[tuple[int, ...]]) -> np.ndarray:
    found = {}
    for batch in encoder.encode(ids):
        found |= dict(zip(batch.positions.tolist(), batch.vectors, strict=True))
    return np.stack([found[position] for position in range(len(ids))])


def test_a_guest_gets_the_vectors_that_the_host_would_have_made(tmp_path: Path) -> None:
    """To the bit, with what the host says of itself; an idle host answers as well, and tells that it did."""
    encoder, told = HashEncoder(), list[Event]()
    with lender(tmp_path, encoder, told):
        lent = guest(counter(tmp_path))
        assert np.array_equal(vectors(lent, TEXTS), vectors(HashEncoder(), TEXTS))
        assert (lent.dim, lent.provenance, lent.loads) == (encoder.dim, encoder.provenance, 1)
    assert [(type(event), getattr(event, "lent", None)) for event in told] == [(GaveWay, True)]


def test_much_is_asked_for_in_parts_and_too_much_not_at_all(tmp_path: Path) -> None:
    """A host has work of its own."""
    long = [tuple(range(200))] * (AT_ONCE // 200 + 5)
    told: list[Event] = []
    with lender(tmp_path, HashEncoder(rows=64), told):
        assert len(vectors(guest(counter(tmp_path)), long)) == len(long)
        with pytest.raises(EncoderUnavailable, match="too much"):
            vectors(guest(counter(tmp_path)), [tuple(range(200))] * (MOST // 200 + 1))
    assert len(told) == 2


@pytest.mark.parametrize("card", [Card("other", slots.URGENT), Card("m", slots.BACKFILL)])
def test_nobody_lends_another_model_or_to_who_is_not_more_urgent(tmp_path: Path, card: Card) -> None:
    """A guest that finds no host does not wait for one."""
    with lender(tmp_path, HashEncoder()):
        assert counter(tmp_path).host_of(card) is None
        lost: list[bool] = []
        with pytest.raises(EncoderUnavailable, match="does not answer"):
            vectors(guest(counter(tmp_path), card, lost=lambda: lost.append(True)), TEXTS)
        assert lost == [True]


def test_a_text_without_a_vector_is_refused_by_the_host_as_by_the_model(tmp_path: Path) -> None:
    """The others come."""

    class Refusing(HashEncoder):
        def encode(self, ids, texts=None):  # type: ignore[no-untyped-def]
            return super().encode(ids, ["bad" if len(each) == 1 else "good" for each in ids])

    with lender(tmp_path, Refusing(refuses=("bad",))):
        batches = list(guest(counter(tmp_path)).encode(TEXTS))
    assert [one.position for batch in batches for one in batch.refused] == [1]
    assert sorted(p for batch in batches for p in batch.positions.tolist()) == [0, 2, 3]


def test_a_host_that_loses_its_device_says_so(tmp_path: Path) -> None:
    """The guest goes on with a model of its own, at once."""
    with lender(tmp_path, HashEncoder(lost_after=0)), pytest.raises(EncoderUnavailable, match="could not help"):
        vectors(guest(counter(tmp_path)), TEXTS)


def test_a_host_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    """The kernel frees its lock; what it left is cleared away by the next host."""
    code = (
        "import sys,time; from pathlib import Path; from tests.flows.test_lending import HOST, counter\n"
        "counter(Path(sys.argv[1])).host(HOST); print('there', flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    host = subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    assert host.stdout is not None and host.stdout.readline() == b"there\n"
    at = counter(tmp_path)
    assert at.host_of(GUEST) == HOST
    threading.Timer(0.3, host.kill).start()
    with pytest.raises(EncoderUnavailable, match="does not answer"):
        vectors(guest(at, patience=300.0), TEXTS)
    host.wait()
    assert at.host_of(GUEST) is None
    at.host(HOST).close()
    assert list((tmp_path / "lending").iterdir()) == []


def test_a_guest_that_is_gone_is_not_answered(tmp_path: Path) -> None:
    """What it asked for is no reason to stop the host's own work."""
    at = counter(tmp_path)
    host = at.host(HOST)
    asked = at.ask(Ask.of(GUEST, TEXTS))
    assert [token for token, _ in at.asks(HOST)] == [asked.token]
    asked.close()
    assert at.asks(HOST) == []
    at.answer(asked.token, Answer(host.token))
    host.close()
    assert list((tmp_path / "lending").iterdir()) == []


def test_an_ask_is_answered_by_one_host(tmp_path: Path) -> None:
    """Two with the same model do the work once."""
    at = counter(tmp_path)
    host, asked = at.host(HOST), at.ask(Ask.of(GUEST, TEXTS))
    with at.claimed(asked.token) as first, counter(tmp_path).claimed(asked.token) as second:
        assert (first, second) == (True, False)
        at.answer(asked.token, Answer(host.token))
    with at.claimed(asked.token) as third:
        assert not third
    asked.close()
    host.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer("h", dim=DIM, positions=[0, 1], vectors=b"\0" * 128),
        Answer("h", dim=DIM, positions=[0, 1, 2, 3], vectors=b"\0" * 252),
        Answer("h", dim=DIM, positions=[0, 1, 2, 2], vectors=b"\0" * 256),
        Answer("h", dim=8, positions=[0, 1, 2, 3], vectors=b"\0" * 128),
    ],
)
def test_an_answer_that_does_not_fit_is_not_taken(tmp_path: Path, answer: Answer) -> None:
    """A vector too few, bytes too few, one text twice."""
    at = counter(tmp_path)
    host = at.host(HOST)

    def wrong() -> None:
        while not (asks := at.asks(HOST)):
            time.sleep(0.01)
        at.answer(asks[0][0], answer)

    threading.Thread(target=wrong).start()
    with pytest.raises(EncoderUnavailable, match="something else"):
        vectors(guest(at), TEXTS)
    host.close()


def test_an_answer_that_is_garbage_is_not_taken(tmp_path: Path) -> None:
    """Nor does a file that nobody of ours made disturb anybody."""
    at = counter(tmp_path)
    host = at.host(HOST)
    (tmp_path / "lending" / "x.ask").write_bytes(b"\xff")

    def wrong() -> None:
        while not (asks := at.asks(HOST)):
            time.sleep(0.01)
        (tmp_path / "lending" / f"{asks[0][0]}.answer").write_bytes(b"\xc1")

    threading.Thread(target=wrong).start()
    with pytest.raises(EncoderUnavailable, match="cannot be read"):
        vectors(guest(at), TEXTS)
    host.close()


def test_a_model_on_standby_is_loaded_when_it_is_wanted_and_not_before(tmp_path: Path) -> None:
    """Closed before that, it was never made."""
    made: list[str] = []

    def make() -> Here:
        made.append("made")
        return Here(HashEncoder)

    wanted = threading.Event()
    used, spare = Standby(make, wanted), Standby(make, threading.Event())
    threading.Timer(0.1, wanted.set).start()
    assert (used.ready().dim, made) == (HashEncoder.dim, ["made"])
    spare.close()
    with pytest.raises(Halted):
        spare.ready()
    assert made == ["made"]


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=9), max_size=9))
def test_texts_come_through_an_ask_as_they_were(texts: list[list[int]]) -> None:
    """Empty ones as well."""
    assert [list(each) for each in Ask.of(GUEST, texts).texts()] == texts


def test_devices_are_used_by_one_at_a_time(tmp_path: Path) -> None:
    """A run that has its device in hand answers between its batches; the thread beside it keeps off."""
    encoder = HashEncoder()
    with lender(tmp_path, encoder) as devices, devices.borrowed() as device:
        assert isinstance(device, Device)
        asked = counter(tmp_path).ask(Ask.of(GUEST, TEXTS))
        time.sleep(0.5)
        assert counter(tmp_path).answered(asked.token) is None and encoder.embedded == []
        asked.close()


def test_an_urgent_run_beside_a_backfill_loads_no_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors are those of the backfill's model, long before the backfill ends; both are complete."""
    loaded: list[str] = []
    slow = HashEncoder(seconds=0.05, rows=1)
    slow.identity = world.encoder.identity

    def encoders(*_: object) -> dict[str, Here]:
        loaded.append("once")
        return {"cpu": Here(lambda: slow)}

    monkeypatch.setattr(model_wiring, "encoders", encoders)
    for number in range(150):
        world.write(f"{number}.txt", f"long work {number}")
    urgent = world.docs.parent / "urgent"
    urgent.mkdir()
    (urgent / "now.txt").write_text("this is urgent")
    with ThreadPoolExecutor() as pool:
        backfill = pool.submit(world.ingest, priority="backfill")
        while Counter(world.home / "lending", str).host_of(Card(_model(), slots.URGENT)) is None:
            time.sleep(0.02)
        account = world.ingest(urgent, priority="urgent")
        assert not backfill.done()
        assert (account.indexed, account.exit_code(), backfill.result().indexed) == (1, 0, 150)
    assert loaded == ["once"]
    assert ("urgent/now.txt", "this is urgent") in world.rows()


def test_an_urgent_run_whose_host_dies_loads_a_model_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why it took longer."""
    monkeypatch.setattr(model_wiring, "devices_of", lambda settings: {"fake": None})
    world.write("a.txt", "alpha")
    at = Counter(world.home / "lending", iter("abcdefgh").__next__)
    host = at.host(Card(_model(), slots.BACKFILL, DIM, {}))
    threading.Timer(0.5, host.close).start()
    account = world.ingest(priority="urgent")
    assert (account.indexed, account.exit_code(), world.rows()) == (1, 0, {("docs/a.txt", "alpha")})


def _model() -> str:
    """Of the settings that the world has."""
    return lending_wiring.card(load(None), "urgent").model


def test_a_guest_that_is_stopped_holds_up_no_other_guest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two urgent runs, the first of which never ends its ask: nobody stands in line for a model that is lent."""
    slow = HashEncoder(seconds=0.05, rows=1)
    slow.identity = world.encoder.identity
    monkeypatch.setattr(model_wiring, "encoders", lambda *_: {"cpu": Here(lambda: slow)})
    for number in range(120):
        world.write(f"{number}.txt", f"long work {number}")
    urgent = [world.docs.parent / name for name in ("stopped", "other")]
    for folder in urgent:
        folder.mkdir()
        (folder / "now.txt").write_text(f"urgent {folder.name}")
    stuck, goes_on, answered = threading.Event(), threading.Event(), LentEncoder._answered

    def stopped(encoder: LentEncoder, ask: Ask) -> Answer:
        if encoder._host and not stuck.is_set():  # its canaries are through: it has come to its documents
            stuck.set()
            goes_on.wait(60)
        return answered(encoder, ask)

    monkeypatch.setattr(LentEncoder, "_answered", stopped)
    with ThreadPoolExecutor() as pool:
        backfill = pool.submit(world.ingest, priority="backfill")
        while Counter(world.home / "lending", str).host_of(Card(_model(), slots.URGENT)) is None:
            time.sleep(0.02)
        first = pool.submit(world.ingest, urgent[0], priority="urgent")
        assert stuck.wait(30)
        assert world.ingest(urgent[1], priority="urgent").indexed == 1
        assert not first.done() and not backfill.done()
        goes_on.set()
        assert (first.result().indexed, backfill.result().indexed) == (1, 120)


def test_a_folder_that_cannot_be_written_ends_the_lending_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full as an ask is to be claimed: whoever asked loads a model, and the host's own work goes on."""
    encoder, said = HashEncoder(), list[str]()
    devices = Devices({"cpu": Here(lambda: encoder)}, lambda: False, lambda line: None)
    at = counter(tmp_path)
    lending = Lender(
        at, HOST, devices, slots_directory=tmp_path, clock=time.monotonic, sleep=time.sleep,
        tell=lambda event: None, note=said.append,
    )  # fmt: skip

    def full(token: str) -> Iterator[bool]:
        raise OSError(28, "No space left on device")

    with lending, devices.borrowed() as device:
        assert device is not None
        while at.host_of(GUEST) is None:
            time.sleep(0.01)
        asked = at.ask(Ask.of(GUEST, TEXTS))
        monkeypatch.setattr(at, "claimed", full)
        assert lending.waits()
        lending.serve(device)
        assert (lending.waits(), at.host_of(GUEST)) == (False, None)
        asked.close()
    assert len(said) == 1 and "No space left" in said[0]
    devices.close()


def test_a_file_that_is_just_being_made_is_not_cleared_away(tmp_path: Path) -> None:
    """Two runs that begin to lend at the same moment: one clears up what the dead left, and nothing of the other's."""
    at = counter(tmp_path)
    at.host(HOST).close()
    new = tmp_path / "lending" / "t.host.new"
    with open(new, "wb") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        at.host(HOST).close()
        assert new.exists()
    at.host(HOST).close()
    assert not new.exists()
