"""What may happen to the files of a home between two commits: each is done by one function, with dice."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

Past = Path
"""A copy of the whole home as it was some commits ago."""


def files(folder: Path) -> list[Path]:
    """The files that the index knows, in a fixed order."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != "tmp")


def by_kind(folder: Path) -> dict[str, list[Path]]:
    """The same, by the kind of file: the first part of the key."""
    kinds: dict[str, list[Path]] = {}
    for path in files(folder):
        kinds.setdefault(path.relative_to(folder).parts[0], []).append(path)
    return kinds


def _victim(replica: Path, dice: random.Random) -> Path:
    """A file of a kind chosen first: small and few kinds are hit as often as blobs."""
    kinds = by_kind(replica)
    return dice.choice(kinds[dice.choice(sorted(kinds))])


def flip(path: Path, dice: random.Random) -> None:
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def extend(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.randint(1, 40)))


def zero(path: Path, dice: random.Random) -> None:
    """What a disk that lost a write gives back."""
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)) if any(data) else b"\1" * len(data))


def delete(path: Path, dice: random.Random) -> None:
    path.unlink()


def swap(path: Path, dice: random.Random) -> None:
    """Another valid file of the same replica under this one's name."""
    replica = next(parent for parent in path.parents if parent.parent.name == "replicas")
    others = [p for p in by_kind(replica)[path.relative_to(replica).parts[0]] if p.read_bytes() != path.read_bytes()]
    if others:
        path.write_bytes(dice.choice(others).read_bytes())
    else:
        delete(path, dice)


FILE: dict[str, Callable[[Path, random.Random], None]] = {
    "flip": flip, "truncate": truncate, "extend": extend, "zero": zero, "delete": delete, "swap": swap,
}  # fmt: skip
"""What may happen to one file."""


def hurt(kind: str, home: Path, past: Past, dice: random.Random) -> str:
    """Do it to one replica, or to the catalog; return what was done."""
    replica = dice.choice(sorted(path for path in (home / "replicas").iterdir() if path.is_dir()))
    catalog = home / "catalog.db"
    match kind:
        case "replica deleted":
            shutil.rmtree(replica)
        case "replica emptied":
            shutil.rmtree(replica)
            replica.mkdir()
        case "replica rolled back":
            shutil.rmtree(replica)
            shutil.copytree(past / "replicas" / replica.name, replica)
        case "catalog deleted":
            catalog.unlink(missing_ok=True)
        case "catalog rolled back":
            shutil.copy(past / "catalog.db", catalog)
        case "catalog damaged":
            data = bytearray(catalog.read_bytes())
            at = dice.randrange(0, len(data) - 64)
            data[at : at + 64] = dice.randbytes(64)
            catalog.write_bytes(data[:100] if dice.random() < 0.3 else data)
        case _:
            victim = _victim(replica, dice)
            FILE[kind](victim, dice)
            return f"{kind} {victim.relative_to(home)}"
    return f"{kind} {replica.name}" if kind.startswith("replica") else kind


HOME = (
    "replica deleted", "replica emptied", "replica rolled back", "catalog deleted", "catalog rolled back",
    "catalog damaged",
)  # fmt: skip
"""What may happen to a part of a home as a whole."""
