"""What `[sources.NAME]` says of an API: where it is, who we are, and what it has.

docs/sources/rest.md explains each key with examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import tzinfo
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from penstock.connectors.connector import SourceOptions
from penstock.connectors.sources.rest.auth_options import Auth, NoAuth, names_a_secret
from penstock.connectors.sources.rest.dates import zone_of
from penstock.connectors.sources.rest.fields import steps
from penstock.connectors.sources.rest.grammar import compiled, names
from penstock.connectors.sources.rest.paging_options import Paging

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to ask for what changed: `param` takes `value`, in which `{since}` is the moment in `format`.

    `format`: `iso`, `date`, `epoch`, `epoch_ms`, or as strftime takes it. `overlap`: seconds that are asked for again.
    """

    param: str
    value: str = "{since}"
    format: str = "iso"
    overlap: Annotated[float, Meta(ge=0)] = 300.0

    def __post_init__(self) -> None:
        _check("value", compiled, self.value)
        if names(self.value) != {"since"}:
            raise ValueError(f'value = "{self.value}" must hold {{since}} and no other name')
        if self.format not in ("iso", "date", "epoch", "epoch_ms") and "%" not in self.format:
            raise ValueError(f'format = "{self.format}" is none: write iso, date, epoch, epoch_ms or %Y-%m-%d %H:%M')


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """More of a document that has an address of its own; `items` of all its pages. `paging` None: the collection's."""

    path: str = msgspec.field(name="list")
    items: str = ""
    params: dict[str, str | int] = msgspec.field(default_factory=dict)
    paging: Paging | None = None

    def __post_init__(self) -> None:
        _check("items", steps, self.items)
        _check_by_id("list", self.path)
        _check_params(self.params)


class Attachments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The files of a listed object: `items` is where their array is, all else is seen from one element of it."""

    items: str
    url: str
    id: str = "id"
    name: str = "filename"
    size: str = ""
    version: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("items", "id", "name", "size"):
            _check(key, steps, getattr(self, key))
        for path in paths(self.version):
            _check("version", steps, path)
        _check("url", compiled, self.url)


class Collection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of document: how it is listed, and what a document is made of."""

    name: Slug
    path: str = msgspec.field(name="list")
    paging: Paging
    body: str
    items: str = ""
    id: str = "id"
    updated: str = ""
    version: str | tuple[str, ...] = ()
    deleted: str = ""
    timezone: str = "UTC"
    date_format: str = ""
    params: dict[str, str | int] = msgspec.field(default_factory=dict)
    total: str = ""
    error: str = ""
    changes: Changes | None = None
    detail: str = ""
    object: str = ""
    parts: dict[str, Part] = msgspec.field(default_factory=dict)
    title: str = ""
    format: Literal["html", "markdown", "text"] = "text"
    url: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    attachments: Attachments | None = None

    def __post_init__(self) -> None:
        for key in ("items", "id", "updated", "deleted", "total", "error", "object"):
            _check(key, steps, getattr(self, key))
        for path in paths(self.version):
            _check("version", steps, path)
        for key, path in self.metadata.items():
            _check(f"metadata.{key}", steps, path)
        for path in self.labels:
            _check("labels", steps, path)
        for key in ("body", "title", "url"):
            _check(key, compiled, getattr(self, key))
        zone_of(self.timezone)
        _check_params(self.params)
        self._check_together()

    def _check_together(self) -> None:
        if not self.id:
            raise ValueError('id is empty: write the path of what names an object for ever, such as "id"')
        if self.detail:
            _check_by_id("detail", self.detail)
        elif self.object or self.parts:
            raise ValueError('object and parts belong to a detail request: add detail = "/issues/{id}.json"')
        if self.changes and not self.updated:
            raise ValueError('changes needs dates: add updated = "updated_at"')

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.timezone)

    @property
    def versions(self) -> tuple[str, ...]:
        return paths(self.version)

    @property
    def recipe(self) -> str:
        """Changes with what documents are made of: then every one is made again."""
        return digest(self.detail, self.object, self.parts, self.body, self.title, self.format, self.url,
                      self.metadata, self.labels)  # fmt: skip

    @property
    def query(self) -> str:
        """Changes with what is asked for: then an older cursor means nothing."""
        return digest(self.path, self.items, self.id, self.updated, self.deleted, self.params, self.timezone,
                      self.date_format, self.changes)  # fmt: skip


class RestOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`url` is the base: all paths of the collections are appended to it. `headers` go with each request to it.

    `whoami` is a path below it that only those get who are logged in; "": none is asked.
    """

    url: str
    collections: Annotated[tuple[Collection, ...], Meta(min_length=1)]
    auth: Auth = NoAuth()
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    whoami: str = ""

    def __post_init__(self) -> None:
        parts = _split(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url is no address: write https://host/path")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("url holds a user, a password, a query or a fragment: use auth and params for these")
        if self.whoami and (not self.whoami.startswith("/") or isinstance(self.auth, NoAuth)):
            raise ValueError("whoami belongs to auth, and begins with /: write it like /users/current.json")
        for name in self.headers:
            if names_a_secret(name):
                raise ValueError(
                    f'headers.{name} is for credentials: write auth = {{kind = "header", name = "{name}", …}}'
                )
        seen = [collection.name for collection in self.collections]
        if twice := {name for name in seen if seen.count(name) > 1}:
            raise ValueError(f'two collections are called "{min(twice)}": rename one')

    def binding(self) -> str:
        return self.url.rstrip("/")


def paths(written: str | tuple[str, ...]) -> tuple[str, ...]:
    """One path or several, as several."""
    return ((written,) if written else ()) if isinstance(written, str) else written


def digest(*values: object) -> str:
    """Eight characters, the same for the same values."""
    data = msgspec.json.encode(values, order="deterministic")
    return hashlib.sha256(data).hexdigest()[:8]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError("url is no address: write https://host/path") from error
    return parts


def _check(key: str, read: Callable[[str], object], written: str) -> None:
    try:
        read(written)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _check_params(params: dict[str, str | int]) -> None:
    for name in params:
        if names_a_secret(name):
            raise ValueError(
                f'params.{name} is for credentials: write auth = {{kind = "query", param = "{name}", value = …}}'
            )


def _check_by_id(key: str, written: str) -> None:
    _check(key, compiled, written)
    if not written.startswith("/") or names(written) != {"id"}:
        raise ValueError(
            f'{key} = "{written}" must begin with / and hold {{id}} and no other name, such as /issues/{{id}}.json'
        )
