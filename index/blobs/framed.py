"""Small files that say what they are: one struct as canonical JSON, a newline, its sha256 in hex, a newline.

Used by log records and by markers: any damage to one of them shows, in any byte.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from penstock.index import decoding
from penstock.index.errors import Corrupt, WrongIndex

FORMAT = 1
"""Of framed files. They did not change since the first format of the index, and their bytes must not depend on who
writes them."""
_T = TypeVar("_T", bound=msgspec.Struct)


def encode(struct: msgspec.Struct) -> bytes:
    """The bytes of a file: equal structs have equal bytes."""
    body = msgspec.json.encode(struct, order="deterministic")
    return body + b"\n" + _digest(body)


def decode(data: bytes, kind: type[_T], where: str) -> _T:
    """The struct in `data`. Raises `Corrupt`, or `WrongIndex` for a format that is newer than this penstock.

    Exactly what `encode` made of it: a whole file of another kind, put in this one's place, is damage too.
    """
    body, _, rest = data.partition(b"\n")
    if rest != _digest(body):
        raise Corrupt(f"{where} is damaged: its digest does not match; run penstock verify")
    check_format(body, where, FORMAT)
    try:
        found = decoding.decode(body, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"{where} is damaged: {error}; run penstock verify") from error
    if encode(found) != data:
        raise Corrupt(f"{where} holds another kind of file; run penstock verify")
    return found


def check_format(body: bytes, where: str, known: int) -> None:
    """Raise unless the JSON object in `body` has a `format` of at most `known`."""
    try:
        made = msgspec.json.decode(body)["format"]
        newer = made > known
    except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{where} is damaged: it has no format; run penstock verify") from error
    if newer:
        raise WrongIndex(f"{where} has format {made}, this penstock reads up to {known}: upgrade penstock")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n"
