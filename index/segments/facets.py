"""What a search can be narrowed by: labels, metadata and sources, each with the rows that carry it.

The `facets` blob of a segment is a table keyed by facet; a record is the base64 (as a JSON string) of a roaring
bitmap of ordinals, portable serialization, run-optimized. Keys: `label:{label}`, `source:{name}`, and
`metadata:{length of the key}:{key}:{value}`, so that no key and value can pose as another pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import msgspec
import pyroaring

from penstock.index.blobs import table
from penstock.index.errors import Corrupt
from penstock.index.types import Row

_text = msgspec.json.Decoder(bytes)


class Filter(msgspec.Struct, frozen=True):
    """Which rows may be found. What is left at its default does not narrow anything.

    `metadata`: for every key named, the row has one of those values. `labels`: the access labels of whoever
    asks; the row carries at least one of them, so rows without labels are not found; None does not look at
    labels. `sources`: the row's document comes from one of them; None for all.
    """

    metadata: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    labels: frozenset[str] | None = None
    sources: frozenset[str] | None = None

    def __bool__(self) -> bool:
        """Whether it narrows anything."""
        return bool(self.metadata) or self.labels is not None or self.sources is not None

    def conditions(self) -> list[list[str]]:
        """Lists of facets: a row must carry at least one of each list."""
        wanted = [[of_metadata(key, value) for value in values] for key, values in self.metadata.items()]
        if self.labels is not None:
            wanted.append([of_label(label) for label in self.labels])
        if self.sources is not None:
            wanted.append([of_source(name) for name in self.sources])
        return wanted


class Facets(Protocol):
    """Where bitmaps of facets are looked up. A facet that no row carries is left out."""

    def find(self, names: Iterable[str]) -> Mapping[str, pyroaring.BitMap]: ...


def of_label(label: str) -> str:
    return f"label:{label}"


def of_metadata(key: str, value: str) -> str:
    return f"metadata:{len(key)}:{key}:{value}"


def of_source(name: str) -> str:
    return f"source:{name}"


def of_row(row: Row) -> Iterator[str]:
    """Every facet that a row carries. Its source is the part of its uri before the first slash."""
    yield of_source(row.uri.split("/", 1)[0])
    yield from (of_label(label) for label in row.labels)
    yield from (of_metadata(key, value) for key, value in row.metadata.items())


def chosen(where: Filter, facets: Facets) -> pyroaring.BitMap:
    """The ordinals that `where`, which narrows something, lets through; dead ones too."""
    conditions = where.conditions()
    found = facets.find({name for names in conditions for name in names})
    result: pyroaring.BitMap | None = None
    for names in conditions:
        carrying = pyroaring.BitMap()
        for name in names:
            carrying |= found.get(name, _NONE)
        result = carrying if result is None else result & carrying
    return pyroaring.BitMap() if result is None else result


_NONE = pyroaring.BitMap()


class Gathering:
    """Notes the facets of rows that are streamed by, as ranges: what follows one another costs nothing more."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[int]] = {}

    def add(self, ordinal: int, row: Row) -> None:
        """Ordinals ascend."""
        for name in set(of_row(row)):
            ends = self._ranges.setdefault(name, [])
            if ends and ends[-1] == ordinal:
                ends[-1] = ordinal + 1
            else:
                ends += (ordinal, ordinal + 1)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """The table's (key, record), by key."""
        for name in sorted(self._ranges):
            bitmap = self._bitmap(name)
            bitmap.run_optimize()
            yield name, msgspec.json.encode(bitmap.serialize())

    def find(self, names: Iterable[str]) -> dict[str, pyroaring.BitMap]:
        return {name: self._bitmap(name) for name in names if name in self._ranges}

    def _bitmap(self, name: str) -> pyroaring.BitMap:
        bitmap = pyroaring.BitMap()
        ends = self._ranges[name]
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            bitmap.add_range(start, stop)
        return bitmap


class FacetTable:
    """The facets of a segment of `count` rows, out of its blob. Raises `Corrupt` for records that are no bitmaps."""

    def __init__(self, records: table.Table, count: int) -> None:
        self._records, self._count = records, count

    def find(self, names: Iterable[str]) -> dict[str, pyroaring.BitMap]:
        return {name: self._decoded(record) for name, record in self._records.find(names).items()}

    def _decoded(self, record: bytes) -> pyroaring.BitMap:
        try:
            bitmap = pyroaring.BitMap.deserialize(_text.decode(record))
        except (ValueError, msgspec.MsgspecError) as fault:
            raise Corrupt("a facet is not a bitmap; run penstock verify") from fault
        if bitmap and bitmap.max() >= self._count:
            raise Corrupt("a facet names rows that do not exist; run penstock verify")
        return bitmap
