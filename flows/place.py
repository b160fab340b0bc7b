"""Where a thing may lie: a folder, a bucket, a database server. Words only; nothing is opened here.

A secret never stands in a place that is written down: a store takes its credentials from the environment, a
catalog's password is `${VARIABLE}` or libpq's own PGPASSWORD, and what is shown has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from penstock.index.errors import WrongIndex
from penstock.index.stores import object_place

CATALOGS = ("postgresql", "sqlite")
IDS = "a replica's id is made of up to 32 letters, digits, - and _"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECRET_KEYS = frozenset(("password", "sslpassword", "passwd"))


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
    if not is_url(place):
        return str(folder / Path(place).expanduser())
    scheme, rest = place.split("://", 1)
    if scheme == "file":
        if not rest.startswith("/"):
            raise BadPlace("a file:// URL has three slashes: file:///folder")
        return rest
    if scheme not in object_place.SCHEMES:
        raise BadPlace(f"{scheme}:// is no store that is known; use a folder, or s3://bucket/prefix (gs://, az://)")
    try:
        object_place.parse(place, {})
    except WrongIndex as wrong:
        raise BadPlace(str(wrong)) from None
    return place.rstrip("/")


def catalog(place: str, folder: Path) -> str:
    """A catalog's place: an SQLAlchemy URL; a plain path (taken from `folder`) is an SQLite file. Raises `BadPlace`."""
    if not is_url(place):
        return f"sqlite:///{folder / Path(place).expanduser()}"
    scheme = place.split("://", 1)[0]
    if scheme.split("+")[0] not in CATALOGS:
        raise BadPlace(f"{scheme}:// is no catalog that is known; use a path (SQLite) or postgresql://host/database")
    if scheme.startswith("sqlite"):
        return place
    try:
        password = urlsplit(_VARIABLE.sub("x", place)).password
        said = _VARIABLE.fullmatch(urlsplit(place).password or "")
    except ValueError:
        raise BadPlace("is no URL that can be read; write postgresql://user@host:5432/database") from None
    keys = {key.lower() for key, _ in parse_qsl(urlsplit(place).query)}
    if (password and not said) or keys & _SECRET_KEYS:
        raise BadPlace("a password does not belong in the file; write ${PENSTOCK_CATALOG_PASSWORD} in its place and "
                       "set that variable, or leave it out and set PGPASSWORD")  # fmt: skip
    return place


def filled(url: str, environ: Mapping[str, str]) -> str:
    """The URL with each `${VARIABLE}` replaced by its value, percent-encoded. Raises `BadPlace` for an unset one."""

    def value(found: re.Match[str]) -> str:
        if not environ.get(found[1]):
            raise BadPlace(f"the environment variable {found[1]} is not set; set it, or take ${{{found[1]}}} out")
        return quote(environ[found[1]], safe="")

    return _VARIABLE.sub(value, url)


def shown(url: str) -> str:
    """The place without a password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", url)
