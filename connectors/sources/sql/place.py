"""Where a database is: its URL, without a password. Words only; nothing is opened here.

Parsers disagree about where a password ends, so a URL holds none: `${VARIABLE}` stands in its place, or the key
`password` says where it is, and it is put in only after the URL was taken apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SCHEME = re.compile(r"([a-z][a-z0-9]*(?:\+[a-z0-9_]+)?)://(.*)", re.DOTALL)
_USER = re.compile(r"[^/?#@:\[\]\s$]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:\d{1,5})?(/[^?#@\s]*)?(\?[^#@\s]*)?")
_SECRET = re.compile(r"passw|pwd|secret|token|sslkey|odbc_connect", re.IGNORECASE)
_WRITTEN = "postgresql://user@host:5432/database, or sqlite:///folder/file.db"


class Place(NamedTuple):
    """`url` is for SQLAlchemy and has no password; `secret` is where the password is, "" if there is none."""

    url: str
    binding: str
    secret: str


def parse(url: str, folder: Path) -> Place:
    """Takes a URL apart; a path of SQLite is taken from `folder`. Raises `ValueError`: one line without a secret."""
    found = _SCHEME.fullmatch(url)
    if found is None:
        raise ValueError(f"is no URL of a database; write {_WRITTEN}")
    scheme, rest = found[1], found[2]
    if scheme.partition("+")[0] == "sqlite":
        return _file(rest, folder)
    before, at, after = rest.rpartition("@")
    user, _, password = before.partition(":")
    if password and not _VARIABLE.fullmatch(password):
        raise ValueError("a password does not belong in the file; write ${VARIABLE} in its place and set that variable")
    if any(_SECRET.search(part) for pair in parse_qsl(after.partition("?")[2]) for part in pair):
        raise ValueError("a secret does not belong behind the ?; write ${VARIABLE} before the @, or use password")
    if not _USER.fullmatch(user) or not _HOST.fullmatch(after):
        raise ValueError(f"is no URL that can be read; write {_WRITTEN}, and %40 for an @ that belongs to a name")
    return Place(f"{scheme}://{user}{at}{after}", f"{scheme.partition('+')[0]}://{after.partition('?')[0]}", password)


def _file(rest: str, folder: Path) -> Place:
    if "?" in rest or "#" in rest or not rest.startswith("/"):
        raise ValueError("an SQLite URL is sqlite:/// and a path, and nothing else: sqlite:////folder/file.db")
    path = rest.removeprefix("/")
    if path in ("", ":memory:"):
        raise ValueError("names no file: write sqlite:////folder/file.db")
    place = f"sqlite:///{folder / Path(path).expanduser()}"
    return Place(place, place, "")


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL that `parse` gave; None for a server."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def file_uri(path: Path) -> str:
    """The file as SQLite opens it for reading only: one that is not there is never made."""
    return f"file:{quote(str(path))}?mode=ro"
