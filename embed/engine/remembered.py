"""Budgets that were found before, one small file each, so that a load does not probe again.

For cost, never for truth: whatever is wrong with a file, nothing is known; whatever goes wrong with writing one, it is
probed again. Runs may share the directory: files are put whole, and the last one wins.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from penstock.embed.engine.capacity import Budget, judged
from penstock.embed.engine.faults import OutOfMemory

FORMAT = 1
KEPT = 64
"""Files; the oldest go. A new version of a library is a new key."""
ROOMIER = 1.5
"""So many times the memory that a budget was found under is another situation: it may be probed again."""


class _Entry(msgspec.Struct, frozen=True):
    format: int
    key: dict[str, str]
    budget: Budget
    check: str
    """sha256 of the key and the budget: half a file of one run and half of another may well be JSON."""


class Remembered:
    """Budgets by key in a directory, which is made when the first is put; None: nothing is ever remembered.

    The key is everything that a budget depends on: weights digest, dtype, path, device, versions, threads,
    longest sequence. Memory is not part of it; `settled` looks at that.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, str]) -> Budget | None:
        """What was put under this very key, if it is there and whole."""
        if self._folder is None:
            return None
        try:
            entry = msgspec.json.decode((self._folder / _name(key)).read_bytes(), type=_Entry)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        sound = entry.format == FORMAT and entry.key == dict(key) and entry.check == _check(entry.key, entry.budget)
        return entry.budget if sound and entry.budget.tokens > 0 and entry.budget.trials else None

    def put(self, key: Mapping[str, str], budget: Budget) -> None:
        """Remember. A directory that cannot be written is no error."""
        if self._folder is None:
            return
        entry = _Entry(FORMAT, dict(key), budget, _check(dict(key), budget))
        temp = self._folder / f"{_name(key)}.{os.getpid()}.{threading.get_ident()}"
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                temp.write_bytes(msgspec.json.encode(entry) + b"\n")
                temp.replace(self._folder / _name(key))
            finally:
                temp.unlink(missing_ok=True)
            self._forget()

    def _forget(self) -> None:
        """Drop the oldest beyond `KEPT`; also what a killed run left half written."""
        assert self._folder is not None
        files = sorted(self._folder.glob("budget-*"), key=lambda each: each.stat().st_mtime_ns)
        for old in files[:-KEPT]:
            old.unlink(missing_ok=True)


def settled(key: Mapping[str, str], memory_cap: int, remembered: Remembered, probe: Callable[[], Budget]) -> Budget:
    """The remembered budget as it is right under `memory_cap` (bytes) now, else what `probe()` finds, remembered.

    Where there is less memory than when it was found, the choice is made again from the trials that still fit. Where
    memory was what bound it and there is much more now, or nothing of it fits, it is probed again.
    Raises `OutOfMemory` if nothing fits; what `probe` raises.
    """
    known = remembered.get(key)
    if known is not None and not (known.bound == "memory" and memory_cap >= ROOMIER * known.memory_cap):
        with suppress(OutOfMemory):
            now = known if _fits(known, memory_cap) else judged(known.trials, known.bound, memory_cap)
            return msgspec.structs.replace(now, why=f"{now.why}; found by an earlier run")
    found = probe()
    remembered.put(key, found)
    return found


def _fits(known: Budget, memory_cap: int) -> bool:
    return all(trial.memory_bytes <= memory_cap for trial in known.trials if trial.tokens <= known.tokens)


def _name(key: Mapping[str, str]) -> str:
    return f"budget-{hashlib.sha256(_canonical(key)).hexdigest()[:32]}.json"


def _check(key: Mapping[str, str], budget: Budget) -> str:
    return hashlib.sha256(_canonical(key) + msgspec.json.encode(budget)).hexdigest()


def _canonical(key: Mapping[str, str]) -> bytes:
    return msgspec.json.encode(dict(key), order="sorted")
