"""A JSON API as a source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.sources.rest.api import Api
from penstock.connectors.sources.rest.entries import Entries
from penstock.connectors.sources.rest.fetching import Fetching
from penstock.connectors.sources.rest.options import Collection, RestOptions
from penstock.connectors.sources.rest.reading import Reading
from penstock.connectors.sources.rest.walk import Walk
from penstock.connectors.types import CursorExpired, Fetched, Gap, Gone, Item, Mark, RetryLater

_LATEST = 2.5e11  # the year 9892


class RestSource:
    """Every object of every collection, and their attachments.

    A uri is `NAME/collection/id`, or `NAME/collection/id/attachments/ATTACHMENT-file.name`. A list that shifts while
    it is read is read again, three times in all; then it is a `Gap`, so that nothing is deleted.
    """

    def __init__(self, name: str, options: RestOptions, tools: Tools) -> None:
        self.name = name
        self._collections = {collection.name: collection for collection in options.collections}
        self._clock = tools.clock
        self._api = Api(options, tools)
        self._fetching = Fetching(self._api, self._collections, tools)

    def list(self) -> Iterator[Item | Gap | Mark]:
        """Page by page. Raises `StopSource`, and `RetryLater` if no collection could be listed at all."""
        gaps: list[Gap] = []
        failed: list[RetryLater] = []
        came = False
        position: dict[str, list[Any]] = {}
        self._api.known()
        for collection in self._collections.values():
            walk = self._walk(collection)
            try:
                for each in walk.entries():
                    came = True
                    yield each
            except RetryLater as error:
                failed.append(error)
                gaps.append(Gap(walk.prefix, " ".join(str(error).split())[:500]))
                continue
            if walk.trouble:
                gaps.append(Gap(walk.prefix, walk.trouble))
            position |= walk.position()
        if len(failed) == len(self._collections) and not came:
            raise failed[-1]
        self._api.known()  # still: a key may be revoked meanwhile
        yield from gaps
        if position and not gaps:
            yield Mark(json.dumps(position))

    def fetch(self, item: Item) -> Fetched:
        """Raises `RetryLater`, `RejectItem`, `StopSource`, `FileNotFoundError`."""
        return self._fetching.fetch(item)

    def _walk(self, collection: Collection, since: float | None = None) -> Walk:
        return Walk(
            Entries(self.name, collection, self._api),
            lambda extra: Reading(self._api, collection, extra),
            lambda name, row: self._fetching.keep(collection, name, row),
            collection,
            self._clock,
            since=since,
        )


class FedRestSource(RestSource):
    """One with a changes feed: at least one collection can be asked for what changed. The others are listed."""

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        """Raises `StopSource`, `RetryLater`, `CursorExpired`."""
        before = _position(cursor, self._collections)
        after = dict(before)
        self._api.known()
        for name, collection in self._collections.items():
            since = before[name][1] if name in before else None
            walk = self._walk(collection, since)
            yield from walk.changed()
            if walk.trouble:
                yield Gap(walk.prefix, walk.trouble)
            elif name in before:
                after |= walk.position()
        self._api.known()
        yield Mark(json.dumps(after))


def _position(cursor: str, collections: dict[str, Collection]) -> dict[str, list[Any]]:
    """What a cursor says. Raises `CursorExpired` if it is of another configuration."""
    try:
        found = json.loads(cursor)
    except (ValueError, RecursionError):
        found = None
    fed = {name: each.query for name, each in collections.items() if each.changes}
    if not isinstance(found, dict) or set(found) != set(fed):
        raise CursorExpired("the cursor is of another configuration: list everything")
    for name, query in fed.items():
        match found[name]:
            case [str(asked), float() | int() as since] if asked == query and 0 <= since < _LATEST:
                found[name] = [asked, float(since)]
            case _:
                raise CursorExpired(f"the cursor is of another configuration of {name}: list everything")
    return found
