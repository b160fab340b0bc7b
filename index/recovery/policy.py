"""Which snapshots and versions a DR store keeps: pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import msgspec

from penstock.index.recovery.archive import Key, Named
from penstock.index.recovery.inventory import Inventory


class Policy(msgspec.Struct, frozen=True):
    """What stays: snapshots that are held or whose time is not over, and the newest `keep_last` without a time;
    the versions of these; each version that was the newest within the last `keep_seconds`; the newest version always.
    """

    keep_last: int = 7
    keep_seconds: float = 30 * 86_400.0


def staying_names(names: Mapping[str, Named], held: frozenset[str], policy: Policy, now: float) -> frozenset[str]:
    """The snapshots that policy keeps: pure. Held ones, and those that have a time, are none of the `keep_last`."""
    timeless = [named for named in names.values() if not named.keep_until and named.name not in held]
    timeless.sort(key=lambda named: (named.taken_at, named.name), reverse=True)
    kept = {named.name for named in timeless[: policy.keep_last]}
    kept |= {named.name for named in names.values() if named.keep_until > now}
    return frozenset(kept | (held & names.keys()))


def staying_versions(found: Inventory, names: frozenset[str], policy: Policy, now: float) -> frozenset[Key]:
    """The versions that policy keeps, with these names: pure. A version's age counts from when the next one came."""
    kept = {(found.names[name].version, found.names[name].epoch) for name in names}
    kept.update(found.history[-1:])
    read = [key for key in found.history if key in found.records]
    for key, following in pairwise(read):
        if found.records[following].committed_at > now - policy.keep_seconds:
            kept.add(key)
    # The age of one that cannot be read is that of the one before it: whoever keeps that one keeps it too.
    for key, following in pairwise(found.history):
        if following in found.damaged and key in kept:
            kept.add(following)
    return frozenset(kept)
