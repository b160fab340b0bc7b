"""Through one collection, or through what changed in it, until it held still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from penstock.connectors.sources.rest.dates import written
from penstock.connectors.sources.rest.entries import Entries
from penstock.connectors.sources.rest.fields import first, is_set
from penstock.connectors.sources.rest.options import Collection
from penstock.connectors.sources.rest.reading import Reading
from penstock.connectors.sources.rest.template import render
from penstock.connectors.sources.rest.tokens import changed
from penstock.connectors.types import Gap, Gone, Item

_READINGS = 3
_DAY = 86_400.0


class Walk:
    """Through one collection, or what changed in it."""

    def __init__(
        self,
        entries: Entries,
        reading: Callable[[dict[str, str | int]], Reading],
        keep: Callable[[str, Any], None],
        collection: Collection,
        clock: Callable[[], float],
        *,
        since: float | None = None,
    ) -> None:
        """`reading` makes one with more parameters; `keep` is told every object; `since`: only what changed then."""
        self._entries, self._reading, self._keep, self._clock = entries, reading, keep, clock
        self._began = clock()
        self._collection = collection
        self._since = since
        self._highest: float | None = None
        self.prefix = entries.prefix
        self.trouble = ""

    def entries(self) -> Iterator[Item | Gap]:
        for each in self.changed():
            if not isinstance(each, Gone):
                yield each

    def changed(self) -> Iterator[Item | Gone | Gap]:
        """Raises what a reading raises. `trouble` is set in the end if something may be missing."""
        yielded: set[str] = set()
        before: Reading | None = None
        for _ in range(_READINGS):
            reading = self._reading(self._extra())
            for name, row in reading.objects():
                self._see(row)
                self._keep(name, row)
                if name not in yielded:
                    yielded.add(name)
                    yield from self._made(name, row)
            self.trouble = reading.trouble
            if not reading.trouble:
                if not reading.counts or reading.agrees(before):
                    break
                self.trouble = "what was found differs from one reading to the next: the list shifts while it is read"
            before = None if reading.trouble else reading
        if reading.nameless and not self.trouble:
            self.trouble = f'{reading.nameless} listed objects have no id at id = "{self._collection.id}": check it'

    def position(self) -> dict[str, list[Any]]:
        """From where the feed goes on: the highest date seen, less the time that the reading took, less the overlap.

        That is by the source's own clock: whatever changed since this reading began is dated later.
        """
        rules = self._collection.changes
        if rules is None:
            return {}
        lasted = max(0.0, self._clock() - self._began)
        reached = 0.0 if self._highest is None else self._highest - lasted - rules.overlap
        return {self._collection.name: [self._collection.query, max(reached, self._since or 0.0)]}

    def _made(self, name: str, row: Any) -> Iterator[Item | Gone | Gap]:
        if self._collection.deleted and is_set(first(row, self._collection.deleted)):
            yield from (Gone(uri) for uri in self._entries.uris(name, row))
            return
        yield from self._entries.of(name, row)

    def _see(self, row: Any) -> None:
        """A date beyond tomorrow is a mistake, and would hide everything that comes before it."""
        at = changed(self._collection, row) if self._collection.changes else None
        if at is not None and at.seconds < self._clock() + _DAY:
            self._highest = at.seconds if self._highest is None else max(at.seconds, self._highest)

    def _extra(self) -> dict[str, str | int]:
        rules = self._collection.changes
        if rules is None or self._since is None:
            return {}
        since = written(self._since, rules.format, self._collection.zone)
        return {rules.param: render(rules.value, {"since": since})}
