"""What DR stores say of versions that they do not list: one that was on its way, and one that only a snapshot names.

The first is usual where shipping was cut short; the second is damage, because a name is given to what is listed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from penstock.index.commits import log
from penstock.index.errors import Unavailable
from penstock.index.recovery.archive import SNAPSHOTS, Archive, history


def gaps(archives: Iterable[Archive]) -> list[str]:
    """All of it, a line each. What cannot be read is left out: whoever needs it says so."""
    several = list(archives)
    return [*unrecorded(several), *(line for _, line in announced(several))]


def announced(archives: Iterable[Archive]) -> Iterator[tuple[int, str]]:
    """(version, a line) of what was announced and is newer than the newest that any of them lists."""
    several = list(archives)
    with contextlib.suppress(Unavailable):
        coming = {key: archive.name for archive in several for key in archive.coming()}
        newest = max(history(_listed(several)), default=None)
        for (version, epoch), name in sorted(coming.items()):
            if newest is not None and (epoch, version) > newest[::-1]:
                yield (
                    version,
                    f"version {version} was on its way to {name}, and is not there whole: shipping was cut short, or "
                    "its record is lost",
                )


def unrecorded(archives: Iterable[Archive]) -> list[str]:
    """A line for each snapshot whose version none of them lists."""
    several, lines = list(archives), dict[str, str]()
    with contextlib.suppress(Unavailable):
        named = [(archive, one) for archive in several for one in archive.names()[0].values()]
        known = set(_listed(several))
        for archive, one in named:
            # An expiry deletes the name first, and may have done both since the names were read.
            if (one.version, one.epoch) not in known and archive.store.size(SNAPSHOTS + one.name) is not None:
                lines[one.name] = (
                    f"{archive.name}: the record of version {one.version}, which snapshot {one.name} names, is lost"
                )
    return list(lines.values())


def _listed(archives: Iterable[Archive]) -> Iterator[tuple[int, int]]:
    for archive in archives:
        yield from filter(None, map(log.parse, archive.store.list(log.PREFIX)))
