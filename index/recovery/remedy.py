"""What is said of damage in a DR store names the command that looks there: `verify` and `repair` look at replicas."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator

from penstock.index.errors import Corrupt

_STEP = re.compile(r"[;,]? run (?:`penstock (?:snapshot verify|verify|repair)[^`]*`|penstock (?:verify|repair)\b)")


def elsewhere(said: str, *stores: str) -> str:
    """A message that ends with a command for replicas, with that for these DR stores; others as they are."""
    bare, found = _STEP.subn("", said)
    options = "".join(f" --store {shlex.quote(name)}" for name in stores)
    return f"{bare}; run `penstock snapshot verify{options}`" if found else said


def bare(said: str) -> str:
    """The message without such a command, for whoever just ran it."""
    return _STEP.sub("", said)


@contextlib.contextmanager
def damage_in(store: str) -> Iterator[None]:
    """What proves damaged in here lies in this DR store."""
    try:
        yield
    except Corrupt as fault:
        raise Corrupt(elsewhere(str(fault), store)) from fault
