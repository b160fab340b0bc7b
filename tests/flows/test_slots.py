"""Slots: one embedding at a time per device, freed by death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.flows.runs import slots


def hold(where: Path, stopped: bool = False, waits: list[str] | None = None):  # type: ignore[no-untyped-def]
    told: list[str] = [] if waits is None else waits
    return slots.hold(
        "cpu", where=where, sleep=lambda _: None, stopped=lambda: stopped, waiting=lambda: told.append("waiting")
    )


def test_a_free_slot_is_given(tmp_path: Path) -> None:
    """A slot that nobody holds is ours at once, and free again afterwards."""
    for _ in range(2):
        with hold(tmp_path) as held:
            assert held


def test_a_taken_slot_is_waited_for_until_a_stop(tmp_path: Path) -> None:
    """Whoever is asked to stop while waiting does not get the slot."""
    with hold(tmp_path) as first:
        assert first
        with hold(tmp_path, stopped=True) as second:
            assert not second


def test_a_killed_holder_frees_its_slot(tmp_path: Path) -> None:
    """The kernel takes the lock back: no lease, no waiting."""
    script = (
        "import sys,pathlib;from penstock.flows.runs import slots\n"
        "with slots.hold('cpu',where=pathlib.Path(sys.argv[1]),sleep=None,stopped=lambda:False,waiting=None):\n"
        " print('held',flush=True);sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline().strip() == "held"
    with hold(tmp_path, stopped=True) as taken:
        assert not taken
    holder.kill()
    holder.wait()
    with hold(tmp_path, stopped=True) as freed:
        assert freed
