"""The last door between a source and everything that is kept or shown: no secret passes in what a source says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, cast

import msgspec

from penstock.connectors.http.redaction import Redactor
from penstock.connectors.types import Fetched, Gap, Gone, Incremental, Item, Mark, Source, SourceError

Entry = Item | Gone | Gap | Mark


class Guarded:
    """`source`, whose errors, gaps and addresses are cleaned by `redactor`, whatever a server wrote back to us."""

    def __init__(self, source: Source, redactor: Redactor) -> None:
        self.name = source.name
        self.source = source
        self._redactor = redactor

    def list(self, *under: PurePath) -> Iterator[Item | Gap | Mark]:
        """`under`: a part of a folder, which no other kind of source knows."""
        source: Any = self.source
        return cast(Iterator[Item | Gap | Mark], self._cleaned(lambda: source.list(*under)))

    def fetch(self, item: Item) -> Fetched:
        with cleaned(self._redactor):
            fetched = self.source.fetch(item)
        if fetched.url and (url := self._redactor.clean(fetched.url)) != fetched.url:
            # An API may write the key that we asked with into the addresses that it gives.
            fetched = msgspec.structs.replace(fetched, url=url)
        return fetched

    def _cleaned(self, entries: Callable[[], Iterable[Entry]]) -> Iterator[Entry]:
        with cleaned(self._redactor):
            for entry in entries():
                if isinstance(entry, Gap):
                    yield msgspec.structs.replace(entry, reason=self._redactor.clean(entry.reason))
                else:
                    yield entry


class GuardedFeed(Guarded):
    """One that also says what changed."""

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        source: Any = self.source
        return self._cleaned(lambda: source.changes(cursor))


@contextmanager
def cleaned(redactor: Redactor) -> Iterator[None]:
    """What a source raises inside says no secret."""
    try:
        yield
    except (SourceError, FileNotFoundError) as error:
        redactor.cleaned(error)
        raise


def guarded(source: Source, redactor: Redactor) -> Source:
    """The same source behind the door; it has a feed if the source has one."""
    return (GuardedFeed if isinstance(source, Incremental) else Guarded)(source, redactor)
