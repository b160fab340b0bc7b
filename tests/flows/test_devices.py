"""Several devices, and devices that are lost: whatever happens to them, every document is accounted for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event
from typing import Any

import pytest

from penstock.embed.types import EncoderUnavailable
from penstock.flows import model_wiring, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.config import devices
from penstock.flows.runs import embedding, launch
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.claims import Claim, Claims
from penstock.flows.runs.loading import Devices, Here
from penstock.flows.runs.prepare import ShardLimits
from penstock.flows.runs.stop import Stop
from tests.fakes.encoder import HashEncoder
from tests.flows.conftest import World


class Notes(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def on(world: World, monkeypatch: pytest.MonkeyPatch, *encoders: HashEncoder) -> None:
    """Ingest on these, with shards of a few documents."""
    for encoder in encoders:
        encoder.identity = world.encoder.identity
    found = {f"fake-{number}": encoder for number, encoder in enumerate(encoders)}
    monkeypatch.setattr(
        model_wiring,
        "encoders",
        lambda *_: {name: Here(lambda encoder=encoder: encoder) for name, encoder in found.items()},
    )
    monkeypatch.setattr(wiring, "ShardLimits", lambda: ShardLimits(first_tokens=40, growth=1))


def ingest(world: World, notes: Notes | None = None) -> Accounting:
    return launch.ingest(IngestRequest(home=str(world.home), targets=(str(world.docs),)), notes or Notes())


def documents(world: World, count: int) -> None:
    for number in range(count):
        world.write(f"{number:02d}.txt", f"text number {number}")


def test_two_devices_work_at_the_same_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits in its first batch for the other to be in one: alone, neither would come further."""
    documents(world, 40)
    both = Barrier(2, timeout=120)

    def meet() -> Callable[[], None]:
        met = False

        def once() -> None:
            nonlocal met
            if not met:
                met = True
                both.wait()

        return once

    one, two = HashEncoder(meets=meet()), HashEncoder(meets=meet())
    on(world, monkeypatch, one, two)
    account = ingest(world)
    assert not both.broken and one.embedded and two.embedded
    assert (account.indexed, account.exit_code(), len(world.rows())) == (40, 0, 40)
    assert len(one.embedded) + len(two.embedded) == 40
    assert one.closed and two.closed


def test_when_one_device_is_lost_the_other_finishes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shard goes on where it was; the run says which one is left out, and is complete."""
    documents(world, 40)
    lost, well, notes = HashEncoder(lost_after=1, rows=2), HashEncoder(rows=2), Notes()
    on(world, monkeypatch, lost, well)
    account = ingest(world, notes)
    assert (account.indexed, account.exit_code(), len(world.rows())) == (40, 0, 40)
    assert len(lost.embedded) + len(well.embedded) == 40, "nothing was embedded twice"
    if len(lost.embedded) == 2:  # else the other was done before its second batch
        assert any("fake-0 is left out" in note for note in notes.said)


def test_a_run_whose_only_device_is_lost_ends_in_order(world: World) -> None:
    """Exit 1, with what was embedded kept, the rest deferred, and when to come again; then it goes on."""
    documents(world, 40)
    world.encoder = HashEncoder(lost_after=5)
    account = world.ingest()
    assert account.exit_code() == 1 and account.indexed + account.deferred == 40 and account.deferred > 0
    assert account.messages[-1].startswith("the fake device does not answer; what was embedded is kept")
    assert account.messages[-1].endswith("run again in 1 min 30 s")
    before, world.encoder = len(world.encoder.embedded), HashEncoder()
    rest = world.ingest()
    assert rest.exit_code() == 0 and rest.resumed > 0
    assert before + len(world.encoder.embedded) == 40 == len(world.rows())


def test_what_was_complete_before_the_device_was_lost_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard by shard."""
    documents(world, 40)
    on(world, monkeypatch, HashEncoder(lost_after=4))
    account = ingest(world)
    assert account.indexed > 0 and account.deferred > 0 and len(world.rows()) == account.indexed


def test_a_model_that_cannot_be_started_for_now_ends_the_run_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was prepared stays in the spool for the next run."""
    documents(world, 10)

    def away() -> HashEncoder:
        raise EncoderUnavailable("the model's process died while loading, three times")

    monkeypatch.setattr(model_wiring, "encoders", lambda *_: {"fake": Here(away)})
    account = ingest(world)
    assert (account.deferred, account.exit_code()) == (10, 1)
    assert "three times" in account.messages[-1] and account.messages[-1].endswith("10 documents wait: run again")


def test_a_stop_ends_both_devices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At their next batch; nothing is lost, and the next run goes on."""
    documents(world, 60)
    stop = Stop()
    monkeypatch.setattr(launch, "Stop", lambda: stop)
    both = Barrier(2, timeout=120, action=stop.request)

    def meet() -> None:
        if not stop():
            both.wait()

    one, two = HashEncoder(meets=meet, rows=1), HashEncoder(meets=meet, rows=1)
    on(world, monkeypatch, one, two)
    account = ingest(world)
    assert account.exit_code() == 1 and account.deferred > 0
    assert (len(one.embedded), len(two.embedded)) == (1, 1)
    assert one.closed and two.closed
    monkeypatch.setattr(launch, "Stop", Stop)
    on(world, monkeypatch, rest := HashEncoder())
    assert ingest(world).exit_code() == 0 and len(rest.embedded) == 58 and len(world.rows()) == 60


def test_a_device_that_breaks_ends_the_run_and_the_other_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is no reason to go on; both are let go of."""
    documents(world, 40)
    one, two = HashEncoder(dies_after=0), HashEncoder(seconds=0.01)
    on(world, monkeypatch, one, two)
    with pytest.raises(RuntimeError, match="the device is gone"):
        ingest(world)
    assert one.closed and two.closed


def test_equal_texts_of_two_shards_are_embedded_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the second shard is looked through before the first one is done."""
    for number in range(30):
        world.write(f"{number:02d}.txt", f"text number {number % 10}")
    on(world, monkeypatch, encoder := HashEncoder())
    account = ingest(world)
    assert len(encoder.embedded) == 10 and (account.reused_chunks, account.indexed) == (20, 30)
    assert account.reused_share == pytest.approx(2 / 3, abs=0.05)


def test_texts_that_another_shard_lets_go_of_while_they_are_claimed_are_not_embedded_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looked them up before that has to look again: by then they are in the cache."""
    for number in range(30):
        world.write(f"{number:02d}.txt", f"text number {number % 10}")
    second = Event()

    class Late(Claims):
        """The second who asks is answered when the first is done."""

        def claim(self, keys: Collection[bytes]) -> Claim:
            if before := [*self._owners.values()]:
                second.set()
                assert all(done.wait(120) for done in before)
            return super().claim(keys)

    monkeypatch.setattr(embedding, "Claims", Late)
    on(world, monkeypatch, encoder := HashEncoder(meets=lambda: second.wait(120)))
    account = ingest(world)
    assert second.is_set() and (len(encoder.embedded), account.indexed) == (10, 30)


def test_what_somebody_asks_money_for_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cache had costs nothing."""
    documents(world, 10)
    world.encoder = HashEncoder(billed=True)
    first = world.ingest()
    assert first.billed_tokens == first.embedded_tokens > 0
    world.write("copy.txt", "text number 3")
    world.write("new.txt", "never seen")
    second = world.ingest()
    assert 0 < second.billed_tokens == second.embedded_tokens < second.tokens


def test_devices_wait_for_models_in_vain_when_all_are_lost() -> None:
    """Whoever asks afterwards is told why, too."""
    found = Devices({"a": Here(HashEncoder), "b": Here(HashEncoder)}, lambda: False, lambda line: None)
    for name in range(2):
        try:
            with found.borrowed():
                raise EncoderUnavailable(f"lost {name}")
        except EncoderUnavailable as error:
            assert name == 1, error
    with pytest.raises(EncoderUnavailable, match="lost 1"):
        found.first()


def test_nobody_waits_for_a_model_when_the_run_is_stopped() -> None:
    """Loading takes seconds that nobody needs then."""
    never = Barrier(2)
    stop = Stop()
    stop.request()

    def load() -> Any:
        with pytest.raises(BrokenBarrierError):
            never.wait()
        return HashEncoder()

    found = Devices({"a": Here(load)}, stop, lambda line: None)
    assert found.first() is None
    with found.borrowed() as device:
        assert device is None
    found.close()
    never.abort()


@pytest.mark.parametrize(
    ("nodes", "said", "found"),
    [
        ([], None, []),
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"], None, ["0", "1"]),
        (["nvidia10", "nvidia2"], None, ["2", "10"]),
        (["nvidia0", "nvidia1", "nvidia2"], "2,0", ["2", "0"]),
        (["nvidia3"], "0", ["3"]),
        (["nvidia0", "nvidia1"], "", []),
        (["nvidia0", "nvidia1"], "-1", []),
        (["nvidia0", "nvidia1"], "1,7,0", ["1"]),
        (["nvidia0"], "GPU-5f2c", ["GPU-5f2c"]),
    ],
)
def test_cards_are_those_that_cuda_would_see(
    nodes: list[str], said: str | None, found: list[str], tmp_path: Path
) -> None:
    """Named after the machine's own count, so that all processes mean the same card by the same slot."""
    for node in nodes:
        (tmp_path / node).touch()
    environ = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert devices.cards(environ, tmp_path) == found


def test_every_device_has_a_slot_of_its_own() -> None:
    """All cards if nobody says which; one card or none is left to the model to find."""
    assert devices.chosen((), []) == {"cpu": None}
    assert devices.chosen((), ["3"]) == {"cuda-3": None}
    assert devices.chosen((), ["3", "5"]) == {"cuda-3": "cuda:0", "cuda-5": "cuda:1"}
    assert devices.chosen(("cpu",), ["3"]) == {"cpu": "cpu"}
    assert devices.chosen(("cuda:1", "cuda"), ["3", "5"]) == {"cuda-5": "cuda:1", "cuda-3": "cuda"}
    assert devices.chosen(("cuda:4",), []) == {"cuda-4": "cuda:4"}


def test_two_runs_at_once_do_not_pay_twice_for_equal_texts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waited for the device looks first for what the other has made meanwhile."""
    documents(world, 12)
    copies = world.docs.parent / "copies"
    shutil.copytree(world.docs, copies)
    waits, fake = Event(), HashEncoder(meets=lambda: waits.wait(120))
    on(world, monkeypatch, fake)

    class Waiter(Notes):
        def note(self, message: str) -> None:
            super().note(message)
            if "another run holds" in message:
                waits.set()

    def go(folder: Path, notes: Notes) -> Accounting:
        return launch.ingest(IngestRequest(home=str(world.home), targets=(str(folder),)), notes)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(go, world.docs, Waiter())
        second = go(copies, Waiter())
    assert waits.is_set()
    accounts = (first.result(), second)
    assert [account.indexed for account in accounts] == [12, 12]
    assert sum(account.reused_chunks for account in accounts) == 12
    assert len(fake.embedded) == 12
