"""What a listed object is in the index: an item for itself, and one for each of its attachments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from penstock.connectors.sources.rest.api import Api
from penstock.connectors.sources.rest.fields import elements, first, scalar, text_of
from penstock.connectors.sources.rest.grammar import Value, compiled
from penstock.connectors.sources.rest.naming import Locator, file_name, segment, usable
from penstock.connectors.sources.rest.options import Attachments, Collection, digest, paths
from penstock.connectors.sources.rest.template import TooMuch, render
from penstock.connectors.sources.rest.tokens import base_of, changed, labels, token
from penstock.connectors.types import Gap, Item

_LONGEST_ADDRESS = 4000


class Entries:
    """Makes entries of one collection's objects."""

    def __init__(self, source: str, collection: Collection, api: Api) -> None:
        self.prefix = f"{source}/{collection.name}/"
        self._collection = collection
        self._api = api

    def uri(self, name: str) -> str:
        return self.prefix + segment(name)

    def of(self, name: str, row: Any) -> Iterator[Item | Gap]:
        """The object's item and those of its attachments; a `Gap` for what can be none."""
        collection = self._collection
        base = base_of(collection, row)
        if not usable(name) or not base or not self._can_be_asked(name):
            yield Gap(self.uri(name[:300]), "it cannot be listed: its id fits no address, or it is nested too deeply")
            return
        version = token(collection, row, base)
        at = changed(collection, row)
        place = Locator(collection.name, name)
        yield Item(self.uri(name), place.written(), version, modified=at.seconds if at else None)
        if collection.attachments:
            yield from self._attached(collection.attachments, name, row, version)

    def uris(self, name: str, row: Any) -> Iterator[str]:
        """All the uris of an object that is gone."""
        yield self.uri(name)
        if self._collection.attachments:
            for each in self._attached(self._collection.attachments, name, row, "-"):
                if isinstance(each, Item):
                    yield each.uri

    def _can_be_asked(self, name: str) -> bool:
        """Whether the address of the detail is what it looks like: `..` would lead out of it."""
        asked = [self._collection.detail, *(part.path for part in self._collection.parts.values())]
        return not any({".", ".."} & set(address(each, {"id": name}).partition("?")[0].split("/")) for each in asked)

    def _attached(self, rules: Attachments, name: str, row: Any, version: str) -> Iterator[Item | Gap]:
        rows = elements(row, rules.items)
        if not rows:
            return
        prefix = self.uri(name) + "/attachments/"
        page = page_of(self._collection, name, row)
        readers = digest(self._collection.recipe, labels(self._collection, row))
        seen: dict[str, str] = {}
        for each in rows:
            key = scalar(first(each, rules.id))
            if not key or not usable(key):
                yield Gap(prefix, f'an attachment has no usable id at attachments.id = "{rules.id}"')
                continue
            file = file_name(text_of(first(each, rules.name)) or key)
            uri = prefix + segment(f"{key}-{file}")
            if uri in seen:
                if seen[uri] != key:
                    yield Gap(uri, "another attachment has a name that looks the same")
                continue
            seen[uri] = key
            path = self._api.path(link_of(rules, self._api, name, each))
            place = Locator(self._collection.name, name, key, file, path, version, page)
            yield Item(uri, place.written(), f"{made_of(rules, each)}~{readers}", size_of(rules, each))


def made_of(rules: Attachments, row: Any) -> str:
    """The base of an attachment's token: its `version`, else its name and size, as most systems never change one."""
    texts = [text_of(first(row, path)) for path in paths(rules.version)]
    if not any(texts):
        texts = [text_of(first(row, rules.name)), str(size_of(rules, row))]
    return "a" + hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]


def size_of(rules: Attachments, row: Any) -> int:
    """Bytes; -1 where it is not said."""
    text = scalar(first(row, rules.size)) if rules.size else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


def link_of(rules: Attachments, api: Api, parent: str, row: Any) -> str:
    """The whole address of an attachment's bytes; "" if there is none."""
    written = address(rules.url, {**row, "parent": parent} if isinstance(row, dict) else {"parent": parent})
    return api.url(written) if written else ""


def page_of(collection: Collection, name: str, row: Any) -> str:
    """Where people read it; "" where the configuration does not say, or what it makes is no address."""
    made = address(collection.url, {"id": name, **row} if isinstance(row, dict) else {"id": name})
    try:
        parts = urlsplit(made)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return ""
    return made if fit and made.isprintable() else ""


def address(template: str, row: Any) -> str:
    """An address by a template: values are percent-encoded, but for one that is the whole of it, being a link.

    "" for what is too long.
    """
    nodes = compiled(template)
    alone = len(nodes) == 1 and isinstance(nodes[0], Value)
    escape: Callable[[str], str] | None = None if alone else _quoted
    try:
        made = render(template, row, escape=escape, limit=_LONGEST_ADDRESS).strip()
    except TooMuch:
        return ""
    return made


def _quoted(text: str) -> str:
    return quote(text, safe="")
