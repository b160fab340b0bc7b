"""A disk as a power loss leaves it: what was not fsync'd may be there, half there, or not at all.

The model is weaker than any file system in use, on purpose. An fsync of a file keeps its bytes of that moment, not its
name. An fsync of a folder keeps its entries of that moment, not what they lead to. Everything else that was done
survives or not, each by itself, in any combination; bytes that were not synced may be torn, short, zero or old.
A rename may leave both names, never neither.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

TORN = 16
"""Bytes that a disk writes at once, here: small files must be able to tear."""


@dataclass(eq=False)
class File:
    """`kept` is what an fsync made sure of (None: not even an empty file), `now` what processes see."""

    now: bytes = b""
    kept: bytes = b""
    synced: bool = False


@dataclass(eq=False)
class Folder:
    """`kept` are the entries that an fsync made sure of; `pending` what was done to entries since, in order."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    kept: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[int, str, File | Folder | None]] = field(default_factory=list)


class Platter:
    """A tree of files. The verbs take paths relative to the root ('' is the root), as POSIX calls do."""

    def __init__(self) -> None:
        self.root = Folder()
        self._moves = 0
        self.after: dict[int, int] = {}
        """Removals that need another entry to have survived: the two halves of a rename."""

    def create(self, path: str) -> None:
        self._set(path, File())

    def mkdir(self, path: str) -> None:
        self._set(path, Folder())

    def link(self, source: str, target: str) -> None:
        self._set(target, self.find(source))

    def remove(self, path: str) -> None:
        self._set(path, None)

    def rename(self, source: str, target: str) -> None:
        made = self._set(target, self.find(source))
        self.after[self._set(source, None)] = made

    def write(self, path: str, data: bytes) -> None:
        file = self.find(path)
        assert isinstance(file, File)
        file.now, file.synced = data, file.synced and data == file.now

    def fsync(self, path: str) -> None:
        at = self.find(path)
        if isinstance(at, File):
            at.kept, at.synced = at.now, True
        else:
            for number, _, _ in at.pending:
                if number in self.after:
                    self._settle(self.after[number])
            at.kept, at.pending = dict(at.now), []

    def _settle(self, number: int) -> None:
        """The new name of a file whose old name is gone for good is there for good."""
        for folder in _folders(self.root):
            for move in [move for move in folder.pending if move[0] == number]:
                folder.pending.remove(move)
                if move[2] is not None:
                    folder.kept[move[1]] = move[2]

    def find(self, path: str) -> File | Folder:
        at: File | Folder = self.root
        for part in path.split("/") if path else ():
            assert isinstance(at, Folder), path
            at = at.now[part]
        return at

    def knows(self, path: str) -> bool:
        try:
            self.find(path)
        except (KeyError, AssertionError):
            return False
        return True

    def materialise(self, target: Path, dice: random.Random, fate: str = "any") -> None:
        """Write one disk that a power loss now may leave. `fate`: `least` (nothing that was not synced survives),
        `names` (all names do, no bytes), `most` (everything does), `any` (each by a toss of `dice`)."""
        target.mkdir()
        survivors: set[int] = set()
        for folder in _folders(self.root):
            survivors |= {n for n, *_ in folder.pending if _survives(dice, fate)}
        pending = {n for folder in _folders(self.root) for n, *_ in folder.pending}
        for removal, made in self.after.items():
            if made in pending and made not in survivors:
                survivors.discard(removal)
        self._write(self.root, target, survivors, dice, fate)

    def _write(self, folder: Folder, target: Path, survivors: set[int], dice: random.Random, fate: str) -> None:
        entries = dict(folder.kept)
        for number, name, what in folder.pending:
            if number not in survivors:
                continue
            if what is None:
                entries.pop(name, None)
            else:
                entries[name] = what
        for name, what in sorted(entries.items(), key=lambda entry: entry[0]):
            if isinstance(what, Folder):
                (target / name).mkdir()
                self._write(what, target / name, survivors, dice, fate)
            else:
                (target / name).write_bytes(what.now if what.synced else _torn(what, dice, fate))

    def _set(self, path: str, what: File | Folder | None) -> int:
        parent, _, name = path.rpartition("/")
        folder = self.find(parent)
        assert isinstance(folder, Folder), path
        if what is None:
            del folder.now[name]
        else:
            folder.now[name] = what
        self._moves += 1
        folder.pending.append((self._moves, name, what))
        return self._moves


def _folders(folder: Folder, seen: set[int] | None = None) -> list[Folder]:
    """Every folder that is reachable by what is kept or pending."""
    seen = set() if seen is None else seen
    if id(folder) in seen:
        return []
    seen.add(id(folder))
    inside = [*folder.kept.values(), *(what for _, _, what in folder.pending)]
    return [folder, *(f for what in inside if isinstance(what, Folder) for f in _folders(what, seen))]


def _survives(dice: random.Random, fate: str) -> bool:
    if fate == "any":
        return dice.random() < 0.5
    return fate != "least"


def _torn(file: File, dice: random.Random, fate: str) -> bytes:
    """Bytes that were written and not synced: old, new, zero, short, or pieces of each."""
    if fate != "any":
        return file.now if fate == "most" else file.kept
    size = dice.choice((len(file.kept), len(file.now), dice.randrange(max(len(file.kept), len(file.now)) + 1)))
    made = bytearray()
    whole = dice.choice((None, None, file.kept, file.now, b""))
    while len(made) < size:
        source = dice.choice((file.kept, file.now, b"")) if whole is None else whole
        made += source[len(made) : len(made) + TORN].ljust(TORN, b"\0")
    return bytes(made[:size])
