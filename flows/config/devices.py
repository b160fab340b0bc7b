"""The devices of this machine that may embed, found without loading anything that could use them.

A device is named as torch names it, its slot as all processes of this host agree on: `cuda:0` is whichever card
CUDA_VISIBLE_DEVICES names first, and its slot is named after that card.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

_NODE = re.compile(r"nvidia(\d+)")
_NAMED = re.compile(r"cuda(?::(0|[1-9][0-9]*))?")


def cards(environ: Mapping[str, str], dev: Path = Path("/dev")) -> list[str]:
    """The NVIDIA cards that this process may use, in CUDA's order: numbers of their device nodes, or their UUIDs."""
    there = sorted(int(found[1]) for node in _nodes(dev) if (found := _NODE.fullmatch(node)))
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is None or not there:
        return [str(number) for number in there]
    visible: list[str] = []
    for word in (word.strip() for word in said.split(",")):
        if word.isdecimal() and int(word) < len(there):
            visible.append(str(there[int(word)]))
        elif word.startswith(("GPU-", "MIG-")):
            visible.append(word)
        else:
            break  # CUDA sees nothing from the first word on that names no card
    return visible


def is_one(device: str) -> bool:
    """Whether it is a name that a device of a machine can have: `cpu`, `cuda` (the first card) or `cuda:N`."""
    return device == "cpu" or _NAMED.fullmatch(device) is not None


def chosen(said: Sequence[str], cards: Sequence[str]) -> dict[str, str | None]:
    """Slot → device: those that somebody `said`, else all `cards`, else whatever the model finds best (None)."""
    if said:
        return {_slot(device, cards): device for device in said}
    if len(cards) > 1:
        return {_slot(device, cards): device for device in (f"cuda:{number}" for number in range(len(cards)))}
    return {f"cuda-{cards[0]}" if cards else "cpu": None}


def usable(found: Sequence[str]) -> Sequence[str]:
    """The cards, none where the torch that is installed was built without CUDA."""
    try:
        return [] if metadata.version("torch").endswith("+cpu") else found
    except metadata.PackageNotFoundError:
        return []


def _slot(device: str, cards: Sequence[str]) -> str:
    named = _NAMED.fullmatch(device)
    if named is None:
        return device
    number = int(named[1] or 0)
    return f"cuda-{cards[number] if number < len(cards) else number}"


def _nodes(dev: Path) -> list[str]:
    try:
        return [path.name for path in dev.iterdir()]
    except OSError:
        return []
