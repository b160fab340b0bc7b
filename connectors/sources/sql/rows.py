"""What a row is as an item and as a document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock.connectors.sources.sql.options import Kind, several
from penstock.connectors.sources.sql.template import Template
from penstock.connectors.sources.sql.values import coded, decoded, is_set, named, readers, rendered, seconds
from penstock.connectors.types import Item

Row = Mapping[str, Any]


class Page(NamedTuple):
    """A row as a document, before it is a file."""

    text: str
    title: str
    url: str
    metadata: dict[str, str]
    labels: tuple[str, ...]


class Shape:
    """How rows of one kind become items of `source` and documents. Raises `ValueError` for a bad template."""

    def __init__(self, source: str, kind: Kind) -> None:
        self.kind = kind
        self.keys = several(kind.key)
        self.prefix = f"{source}/{kind.name}/"
        self.listed, self.used = kind.listed(), kind.used()
        self._make = kind.make()
        self._body = Template(kind.body, markup=kind.format == "html")
        self._title, self._url = Template(kind.title), Template(kind.url)

    def key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.keys)

    def uri(self, key: Sequence[Any]) -> str:
        return self.prefix + named(key)

    def is_deleted(self, row: Row) -> bool:
        return bool(self.kind.deleted) and is_set(row[self.kind.deleted])

    def has_token(self, row: Row) -> bool:
        """Whether the row itself says when it changed: else all of it must be read."""
        return self._token(row) is not None

    def version(self, row: Row) -> str:
        """Changes with the row, and with what the configuration makes of it."""
        token = self._token(row)
        if token is None:
            values = [[name, rendered(row[name])] for name in self.used]
            token = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]
        return f"{token if len(token) <= 100 else hashlib.sha256(token.encode()).hexdigest()}.{self._make}"

    def _token(self, row: Row) -> str | None:
        for column in (self.kind.version, self.kind.updated):
            if column and row[column] is not None:
                return f"{column[:1]}{rendered(row[column])}"
        return None

    def item(self, row: Row) -> Item:
        """Raises `TypeError` if the key is of a type that cannot be one."""
        key = self.key(row)
        modified = seconds(row[self.kind.updated]) if self.kind.updated else None
        locator = json.dumps([self.kind.name, [coded(part) for part in key]])
        return Item(uri=self.uri(key), locator=locator, version=self.version(row), modified=modified)

    def page(self, row: Row) -> Page:
        """The document."""
        labels = {label for column in several(self.kind.labels) for label in readers(row[column])}
        metadata = {column: text for column in self.kind.metadata if (text := rendered(row[column]))}
        return Page(
            text=self._body.fill(row),
            title=self._title.fill(row).strip(),
            url=self._url.fill(row).strip(),
            metadata=metadata,
            labels=tuple(sorted(labels)),
        )


def key_of(item: Item) -> tuple[str, tuple[Any, ...]]:
    """The name of the kind, and the key, that an item's locator holds. Raises `ValueError`."""
    try:
        kind, key = json.loads(item.locator)
        return str(kind), tuple(decoded(part) for part in key)
    except (TypeError, KeyError) as error:
        raise ValueError("not a locator of this source") from error
