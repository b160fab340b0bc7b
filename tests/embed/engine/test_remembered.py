"""A budget that was found is remembered for exactly its situation, and never believed where the file is not whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed.engine import remembered
from penstock.embed.engine.capacity import Budget, Trial, judged
from penstock.embed.engine.faults import OutOfMemory
from penstock.embed.engine.remembered import Remembered, settled

KEY = {"weights": "53aa", "dtype": "bfloat16", "path": "packed", "device": "H100", "torch": "2.13.0"}
MIB = 1 << 20


def _budget(bound: str = "saturated", cap: int = 100 * MIB) -> Budget:
    trials = (Trial(1024, 0.1, 10 * MIB), Trial(2048, 0.1, 20 * MIB), Trial(4096, 0.1, 40 * MIB))
    return judged((*trials, Trial(8192, 0.2, 80 * MIB)), bound, cap)


class Probe:
    def __init__(self, budget: Budget) -> None:
        self.budget, self.calls = budget, 0

    def __call__(self) -> Budget:
        self.calls += 1
        return self.budget


def test_what_was_put_is_got(tmp_path: Path) -> None:
    """By the same key, in whatever order its parts are said."""
    Remembered(tmp_path / "new").put(KEY, _budget())
    assert Remembered(tmp_path / "new").get(dict(reversed(KEY.items()))) == _budget()


@pytest.mark.parametrize("part", KEY)
def test_another_situation_is_another_key(tmp_path: Path, part: str) -> None:
    """Whichever part differs, nothing is known."""
    Remembered(tmp_path).put(KEY, _budget())
    assert Remembered(tmp_path).get({**KEY, part: "other"}) is None
    assert Remembered(tmp_path).get({**KEY, "threads": "4"}) is None


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_not_believed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut short, with a byte changed, or something else altogether: nothing is known, and nothing is raised."""
    folder = tmp_path_factory.mktemp("budgets")
    store = Remembered(folder)
    store.put(KEY, _budget())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    match data.draw(st.sampled_from(["cut", "changed", "foreign"])):
        case "cut":
            file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])
        case "changed":
            at = data.draw(st.integers(0, len(whole) - 2))
            byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[at]))
            file.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
        case _:
            file.write_bytes(data.draw(st.binary(max_size=64)))
    assert store.get(KEY) in (None, _budget())


def test_a_file_under_another_name_is_not_believed(tmp_path: Path) -> None:
    """What is in the file says for which key it is."""
    store = Remembered(tmp_path)
    store.put(KEY, _budget())
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / remembered._name({**KEY, "dtype": "float32"}))
    assert store.get({**KEY, "dtype": "float32"}) is None


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """Then it is probed each time."""
    (tmp_path / "file").write_text("")
    store = Remembered(tmp_path / "file")
    store.put(KEY, _budget())
    assert store.get(KEY) is None
    Remembered(None).put(KEY, _budget())
    assert Remembered(None).get(KEY) is None


def test_runs_may_write_at_the_same_time(tmp_path: Path) -> None:
    """A reader finds nothing or a whole budget, never half of one; nothing half written is left."""
    store = Remembered(tmp_path)
    seen: list[Budget | None] = []

    def write() -> None:
        for _ in range(30):
            store.put(KEY, _budget())
            seen.append(store.get(KEY))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(map(repr, seen)) == {repr(_budget())}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_directory_does_not_grow_for_ever(tmp_path: Path) -> None:
    """The oldest go, and with them what a killed run left behind."""
    store = Remembered(tmp_path)
    for n in range(remembered.KEPT + 10):
        store.put({**KEY, "torch": str(n)}, _budget())
        os.utime(tmp_path / remembered._name({**KEY, "torch": str(n)}), (n, n))
    assert len(list(tmp_path.iterdir())) <= remembered.KEPT + 1
    assert store.get({**KEY, "torch": str(remembered.KEPT + 9)}) is not None
    assert store.get({**KEY, "torch": "0"}) is None


def test_the_second_load_does_not_probe(tmp_path: Path) -> None:
    """And says where its budget is from."""
    probe, store = Probe(_budget()), Remembered(tmp_path)
    first = settled(KEY, 100 * MIB, store, probe)
    again = settled(KEY, 90 * MIB, store, probe)
    assert (probe.calls, first.tokens, again.tokens) == (1, 4096, 4096)
    assert again.why == f"{first.why}; found by an earlier run"


def test_less_memory_is_answered_from_the_trials(tmp_path: Path) -> None:
    """And what is remembered stays: the memory may be back tomorrow."""
    probe, store = Probe(_budget()), Remembered(tmp_path)
    settled(KEY, 100 * MIB, store, probe)
    short = settled(KEY, 30 * MIB, store, probe)
    assert (probe.calls, short.tokens, short.bound) == (1, 2048, "memory")
    assert settled(KEY, 100 * MIB, store, probe).tokens == 4096


def test_much_more_memory_is_probed_again_where_memory_was_the_bound(tmp_path: Path) -> None:
    """A little more is not worth it."""
    probe, store = Probe(_budget("memory", 50 * MIB)), Remembered(tmp_path)
    settled(KEY, 50 * MIB, store, probe)
    settled(KEY, 60 * MIB, store, probe)
    assert probe.calls == 1
    settled(KEY, 500 * MIB, store, probe)
    assert probe.calls == 2


def test_where_nothing_fits_any_more_it_is_probed_again(tmp_path: Path) -> None:
    """The probe has the last word, and its error passes through."""
    store = Remembered(tmp_path)
    settled(KEY, 100 * MIB, store, Probe(_budget()))

    def probe() -> Budget:
        raise OutOfMemory("nothing fits")

    with pytest.raises(OutOfMemory):
        settled(KEY, MIB, store, probe)
