"""Vectors kept safe. `Reader` and `Hit` are the public API; they load neither torch nor prefect."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader as Reader
    from penstock.index.types import Hit as Hit

__all__ = ["Hit", "Reader"]

_HOMES = {"Hit": "penstock.index.types", "Reader": "penstock.index.reading.reader"}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for: `import penstock.index` alone costs nothing."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
