"""`[sources.NAME]` of type `sql`: where the database is, and one query for each kind of document."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.connectors.connector import Secret, SourceOptions
from penstock.connectors.sources.sql import place
from penstock.connectors.sources.sql.template import Template

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Column = Annotated[str, Meta(min_length=1)]
Columns = Column | tuple[Column, ...]


def several(columns: Columns) -> tuple[str, ...]:
    """One column, or more of them, as a tuple."""
    return (columns,) if isinstance(columns, str) else columns


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of document: a `query` (SELECT) or a `table`, and what its columns are for.

    `key`: unique, never NULL, best indexed. `version`: changes with each change; without it `updated` does, without
    both the whole row is read and its digest taken. `body`, `title` and `url` are templates over columns.
    """

    name: Name
    key: Columns
    body: str
    query: str = ""
    table: str = ""
    updated: str = ""
    version: str = ""
    title: str = ""
    format: Literal["text", "markdown", "html"] = "text"
    url: str = ""
    metadata: tuple[Column, ...] = ()
    labels: Columns = ()
    deleted: str = ""

    def checked(self) -> None:
        """Raises `ValueError`: one line with the key and the fix."""
        if bool(self.query) == bool(self.table):
            raise ValueError("needs a query or a table, and not both")
        if not several(self.key):
            raise ValueError("key: name the column, or the columns, that tell one row from all others")
        for key in ("body", "title", "url"):
            try:
                Template(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        if not Template(self.body).columns:
            raise ValueError("body: names no column; write {column} for what a document is made of")

    def listed(self) -> tuple[str, ...]:
        """The columns that a listing reads: only what tells whether a row changed, where something does."""
        token = self.version or self.updated
        if not token:
            return self.used()
        return _once(*several(self.key), self.version, self.updated, self.deleted)

    def used(self) -> tuple[str, ...]:
        """Every column that is needed for a document."""
        templates = (column for text in (self.body, self.title, self.url) for column in Template(text).columns)
        rest = (*self.metadata, *several(self.labels))
        return _once(*several(self.key), self.version, self.updated, self.deleted, *templates, *rest)

    def make(self) -> str:
        """Changes when a row makes another document, or another listing, than before: part of every token."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, name="k"))).hexdigest()[:8]


def _once(*columns: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for column in columns if column))


class SqlOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`url` holds no password: `${VARIABLE}` in its place, or `password`. `overlap`: seconds that a feed goes back."""

    url: str
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1)]
    password: Secret | None = None
    page_size: Annotated[int, Meta(ge=1, le=100_000)] = 500
    overlap: Annotated[float, Meta(ge=0)] = 300.0
    connect_seconds: Annotated[float, Meta(gt=0)] = 10.0
    statement_seconds: Annotated[float, Meta(gt=0)] = 60.0
    attempts: Annotated[int, Meta(ge=1, le=20)] = 4

    def binding(self) -> str:
        return place.parse(self.url, Path("/")).binding

    def anchored(self, folder: Path) -> SqlOptions:
        try:
            found = place.parse(self.url, folder)
        except ValueError as error:
            raise ValueError(f"url {error}") from None
        if found.secret and self.password:
            raise ValueError("password: it stands in url already; write it in one place")
        if place.file_of(found.url) is not None and self.password:
            raise ValueError("password: an SQLite file has none; take it out")
        names = [kind.name for kind in self.kinds]
        if len(set(names)) < len(names):
            raise ValueError("kinds: two have the same name; rename one")
        for kind in self.kinds:
            try:
                kind.checked()
            except ValueError as error:
                raise ValueError(f"kinds.{kind.name} {error}") from None
        secret = found.secret or self.password
        return msgspec.structs.replace(self, url=found.url, password=secret)
