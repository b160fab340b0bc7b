"""What a run fetches lies in a folder that does not outlive it."""

from __future__ import annotations

from pathlib import Path

from penstock.flows.spools import scratch


def test_the_folder_of_a_dead_run_is_removed_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    """A kill leaves no files behind for ever."""
    dead, lock = scratch.take(tmp_path, "dead")
    (dead / "body").write_text("half")
    lock.release()  # as the kernel does for a process that was killed
    alive, held = scratch.take(tmp_path, "alive")
    (alive / "body").write_text("half")
    mine, mine_held = scratch.take(tmp_path, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "mine"]
    assert mine.stat().st_mode & 0o777 == 0o700, "not everybody may read what this run may"
    scratch.give_up(alive, held)
    scratch.give_up(mine, mine_held)
    assert list(tmp_path.iterdir()) == []
