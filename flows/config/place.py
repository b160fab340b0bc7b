"""Where a thing may lie: a folder, a bucket, a database server. Words only; nothing is opened here.

A secret never stands in a place that is written down: a store takes its credentials from the environment, a
catalog's password is `${VARIABLE}` or libpq's own PGPASSWORD, and what is shown has none. Parsers disagree about
where a password ends; so what stands before the last @ is its owner's name and a password, and nothing else.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote

from penstock.index.errors import WrongIndex
from penstock.index.stores import object_place

CATALOGS = ("postgresql", "sqlite")
IDS = "a replica's id is made of up to 32 letters, digits, - and _"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECRET_KEYS = frozenset(("password", "sslpassword", "passwd"))
_BUCKET, _SERVER = "s3://bucket/prefix", "postgresql://user@host:5432/database"
_WRITTEN = {
    **{scheme: f"{scheme}://bucket/prefix" for scheme in object_place.SCHEMES},
    **dict.fromkeys(("http", "https", "ftp"), _BUCKET),
    **dict.fromkeys(("postgresql", "postgres", "mysql"), _SERVER),
    "file": "file:///folder",
    "sqlite": "sqlite:////folder/catalog.db",
}
"""How a URL of a scheme is written, or of the one that can be meant by it."""
_CLIPPED = re.compile(rf"\s*({'|'.join(_WRITTEN)})(\+\w*)?:(?!//)", re.IGNORECASE)
_USER = re.compile(r"[^/?#@:\[\]\s]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:\d{1,5})?(/[^?#@]*)?(\?[^#@]*)?")


class BadPlace(ValueError):
    """A place that cannot be meant. The message is what is wrong and the fix; it quotes no secret."""


def is_id(name: str) -> bool:
    """Whether it may name a replica."""
    return _ID.fullmatch(name) is not None


def is_url(place: str) -> bool:
    """Whether it is a URL; everything else is a path."""
    return "://" in place


def store(place: str, folder: Path) -> str:
    """A store's place, absolute: a path (taken from `folder`), or a URL as it is. Raises `BadPlace`."""
    _refuse_clipped(place)
    if not is_url(place):
        return str(folder / Path(place).expanduser())
    scheme, rest = place.split("://", 1)
    scheme = scheme.lower()
    if scheme == "file":
        if not rest.startswith("/"):
            raise BadPlace("a file:// URL has three slashes: file:///folder")
        return rest
    if scheme not in object_place.SCHEMES:
        raise BadPlace(f"{scheme}:// is no store that is known; use a folder, or {_BUCKET} (gs://, az://)")
    try:
        return object_place.parse(f"{scheme}://{rest}", {}).name
    except WrongIndex as wrong:
        raise BadPlace(str(wrong)) from None


def overlap(one: str, other: str) -> bool:
    """Whether two places of stores are one, or one lies within the other. By their names: links are not followed."""
    first, second = ((each if is_url(each) else os.path.normpath(each)).rstrip("/") + "/" for each in (one, other))
    return first.startswith(second) or second.startswith(first)


def catalog(place: str, folder: Path) -> str:
    """A catalog's place: an SQLAlchemy URL; a plain path (taken from `folder`) is an SQLite file. Raises `BadPlace`."""
    _refuse_clipped(place)
    url = place if is_url(place) else f"sqlite:///{folder / Path(place).expanduser()}"
    scheme, rest = url.split("://", 1)
    scheme = scheme.lower()
    if scheme.split("+")[0] not in CATALOGS:
        raise BadPlace(f"{scheme}:// is no catalog that is known; use a path (SQLite) or postgresql://host/database")
    before, _, after = rest.rpartition("@") if scheme.startswith("postgresql") else ("", "", rest)
    user, _, password = before.partition(":")
    keys = {key.lower() for key, _ in parse_qsl(after.partition("?")[2])}
    if (password and not _VARIABLE.fullmatch(password)) or keys & _SECRET_KEYS:
        raise BadPlace("a password does not belong in the file; write ${PENSTOCK_CATALOG_PASSWORD} in its place and "
                       "set that variable, or leave it out and set PGPASSWORD")  # fmt: skip
    if _VARIABLE.search(user + after):
        raise BadPlace("a ${VARIABLE} stands only in the place of the password; write everything else as it is")
    if scheme.startswith("postgresql") and not (_USER.fullmatch(user) and _HOST.fullmatch(after)):
        raise BadPlace(f"is no URL that can be read; write {_SERVER}, and %40 for an @ that belongs to a name")
    return f"{scheme}://{rest}"


def _refuse_clipped(place: str) -> None:
    if found := _CLIPPED.match(place):
        scheme = found[1].lower()
        raise BadPlace(f"begins with {scheme}: but not with {scheme}://; write {_WRITTEN[scheme]}, "
                       "or ./ before a path of that name")  # fmt: skip


def filled(url: str, environ: Mapping[str, str]) -> str:
    """The URL with each `${VARIABLE}` replaced by its value, percent-encoded. Raises `BadPlace` for an unset one."""

    def value(found: re.Match[str]) -> str:
        if not environ.get(found[1]):
            raise BadPlace(f"the environment variable {found[1]} is not set; set it, or take ${{{found[1]}}} out")
        return quote(environ[found[1]], safe="")

    return _VARIABLE.sub(value, url)


def shown(url: str) -> str:
    """A catalog's URL without its password and its parameters."""
    scheme, between, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    user, password, _ = before.partition(":")
    return f"{scheme}{between}{user}{password and ':***'}{at}{after.partition('?')[0]}"
