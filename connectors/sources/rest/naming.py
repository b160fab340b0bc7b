"""What documents and attachments are called: uris, locators, names of files."""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

from penstock.connectors.types import RetryLater

_LONGEST_ID = 300
_LONGEST_NAME = 120
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\:]+")


class Locator(msgspec.Struct, frozen=True, omit_defaults=True):
    """What fetching needs, small and without secrets.

    For attachments also: the attachment's id, its file's name, its address without the origin ("": ask the parent),
    the parent's version when it was listed, and where people read the parent.
    """

    collection: str
    id: str
    attachment: str = ""
    file: str = ""
    path: str = ""
    parent: str = ""
    page: str = ""

    def written(self) -> str:
        return msgspec.json.encode(self).decode()


def locator(written: str) -> Locator:
    """Raises `RetryLater` for what another version, or another kind of source, wrote."""
    try:
        return msgspec.json.decode(written, type=Locator)
    except (msgspec.MsgspecError, UnicodeError):
        raise RetryLater("it was listed in another way: the next listing mends that", reason="vanished") from None


def segment(text: str) -> str:
    """`text` as one part of a uri: ASCII, reversible, never `.` or `..`."""
    made = quote(text, safe=" ()!,+@=")
    return made.replace(".", "%2E") if made in (".", "..") else made


def usable(name: str) -> bool:
    """Whether an id can be part of a uri."""
    return len(segment(name)) <= _LONGEST_ID * 3 and len(name) <= _LONGEST_ID


def file_name(text: str) -> str:
    """`text` as the name of a file, for parsers and people: no separators, no control characters, not too long."""
    plain = _UNFIT.sub("_", text).strip(" .") or "file"
    if len(plain) <= _LONGEST_NAME:
        return plain
    stem, dot, suffix = plain.rpartition(".")
    kept = dot + suffix if dot and len(suffix) <= 10 else ""
    return (stem if kept else plain)[: _LONGEST_NAME - len(kept)] + kept
