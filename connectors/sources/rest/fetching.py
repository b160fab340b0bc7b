"""One document or one attachment, from the API or from what its listing carried."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from penstock.connectors.connector import Tools
from penstock.connectors.http.types import Reply
from penstock.connectors.sources.rest.api import Api
from penstock.connectors.sources.rest.documents import document, readers, suffix_of
from penstock.connectors.sources.rest.entries import address, link_of
from penstock.connectors.sources.rest.fields import elements, first, is_set, scalar
from penstock.connectors.sources.rest.naming import Locator, locator
from penstock.connectors.sources.rest.options import Collection
from penstock.connectors.sources.rest.reading import Reading, part_of, refuse_error
from penstock.connectors.sources.rest.shelf import Shelf
from penstock.connectors.sources.rest.tokens import base_of, may_change_unseen, metadata, token, token_of_detail
from penstock.connectors.types import Fetched, Item, RetryLater

_PARENTS = 32


class Fetching:
    """Thread-safe. Where there is no detail to ask for, `keep` what is listed, so that `fetch` asks nothing again."""

    def __init__(self, api: Api, collections: Mapping[str, Collection], tools: Tools) -> None:
        self._api = api
        self._collections = collections
        self._tools = tools
        self._shelf = Shelf(tools.scratch, tools.token)
        self._refilling = threading.Lock()
        self._parents: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, collection: Collection, name: str, row: Any) -> None:
        """An object that was listed."""
        if not collection.detail:
            self._shelf.put((collection.name, name), row)

    def fetch(self, item: Item) -> Fetched:
        """Raises `RetryLater`, `RejectItem`, `StopSource`, `FileNotFoundError`."""
        place = locator(item.locator)
        collection = self._collections.get(place.collection)
        if collection is None:
            raise FileNotFoundError(f"there is no collection {place.collection} in the configuration any more")
        if place.attachment:
            return self._attachment(item, place, collection)
        row, retries, now = self._object(collection, place.id)
        if collection.detail:
            version = token_of_detail(collection, row, item.version)
            if may_change_unseen(collection, row, now):
                version += "!"  # equals none that is listed: it is looked at once more
        else:
            version = token(collection, row, base_of(collection, row))
        self._remember((collection.name, place.id, item.version), row)
        path = self._tools.scratch / f"{self._tools.token()}{suffix_of(collection)}"
        return document(collection, place.id, row, version, retries, path, self._tools.max_bytes)

    def _attachment(self, item: Item, place: Locator, collection: Collection) -> Fetched:
        """Its bytes. Its parent is asked for who may read it, and for an address that does not keep."""
        rules = collection.attachments
        if rules is None:
            raise FileNotFoundError(f"attachments of {collection.name} are not in the configuration any more")
        url = self._api.rooted(place.path) if place.path else ""
        parent: Any = None
        if not url or collection.labels or collection.metadata:
            parent = self._parent(collection, place)
        if not url:
            rows = [each for each in elements(parent, rules.items) if scalar(first(each, rules.id)) == place.attachment]
            if not rows:
                raise FileNotFoundError(f"{item.uri} is no longer among the attachments")
            url = link_of(rules, self._api, place.id, rows[0])
        if not url:
            raise RetryLater(f"{item.uri} has no address at attachments.url", reason="garbled")
        who = readers(collection, place.id, parent) if collection.labels else ()
        got = self._api.download(url, self._tools.max_bytes)
        if rules.size and 0 <= item.size != got.size:
            # Such as a page that says "back soon" with status 200, where the file should be.
            got.path.unlink(missing_ok=True)
            what = f"{item.uri}: {got.size} bytes came of the {item.size} that attachments.size says"
            raise RetryLater(what, reason="garbled", retries=got.retries)
        return Fetched(
            path=got.path,
            name=place.file,
            version=item.version,
            temporary=True,
            title=place.file,
            url=place.page,
            metadata=metadata(collection, parent),
            labels=who,
            retries=got.retries,
        )

    # ── objects ──────────────────────────────────────────────────────────────────────────────────────────────

    def _object(self, collection: Collection, name: str) -> tuple[Any, int, float]:
        """(the object, requests repeated for it, the API's clock when it answered)."""
        if not collection.detail:
            return self._listed(collection, name), 0, self._tools.clock()
        path = address(collection.detail, {"id": name})
        reply, row = self._api.get(self._api.url(path), {}, lambda body: _object_in(body, collection), one_item=True)
        if collection.deleted and is_set(first(row, collection.deleted)):
            raise FileNotFoundError(f"{collection.name} {name} is marked as deleted")
        parts = {
            key: part_of(self._api, collection, part, address(part.path, {"id": name}), self._tools.max_bytes)
            for key, part in collection.parts.items()
        }
        return ({**row, **parts} if parts else row), reply.retries, self._clock_of(reply)

    def _parent(self, collection: Collection, place: Locator) -> Any:
        key = (collection.name, place.id, place.parent)
        with self._lock:
            row = self._parents.get(key)
        if row is None:
            row, _, _ = self._object(collection, place.id)
            self._remember(key, row)
        return row

    def _clock_of(self, reply: Reply) -> float:
        """By its `Date`, else ours."""
        try:
            return parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return self._tools.clock()

    def _remember(self, key: tuple[str, str, str], row: Any) -> None:
        """Attachments are mostly fetched right after their parent. The version in the key keeps out what is older."""
        if self._collections[key[0]].attachments is None:
            return
        with self._lock:
            self._parents[key] = row
            while len(self._parents) > _PARENTS:
                self._parents.popitem(last=False)

    # ── objects that only a listing has ──────────────────────────────────────────────────────────────────────

    def _listed(self, collection: Collection, name: str) -> Any:
        row = self._shelf.get((collection.name, name))
        if row is None:
            with self._refilling:  # one listing serves all that wait for it
                row = self._shelf.get((collection.name, name))
                if row is None:
                    row = self._list_for(collection, name)
        return row

    def _list_for(self, collection: Collection, name: str) -> Any:
        """List again: what is missing was listed by another run, or there was no room.

        On a full shelf only what comes from the missed object on is kept, since the next to be fetched come then.
        """
        reading = Reading(self._api, collection)
        found: Any = None
        full = False
        cleared = False
        for key, row in reading.objects():
            if collection.deleted and is_set(first(row, collection.deleted)):
                continue
            if key == name:
                found = row
                if full and not cleared:
                    self._shelf.clear()
                    full, cleared = False, True
            full = full or not self._shelf.put((collection.name, key), row)
            if full and found is not None:
                return found
        if found is not None:
            return found
        if reading.trouble:
            raise RetryLater(f"{collection.name} {name} was not found in a list that shifts", reason="vanished")
        raise FileNotFoundError(f"{collection.name} {name} is no longer listed")


def _object_in(body: Any, collection: Collection) -> Any:
    refuse_error(body, collection)
    row = first(body, collection.object)
    if not isinstance(row, dict):
        raise RetryLater(
            f'no object at object = "{collection.object}" in the detail of {collection.name}: check the path',
            reason="garbled",
        )
    return row
