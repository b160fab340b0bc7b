"""JSON as structs, from any thread.

msgspec (0.22) makes what it knows of a struct type at the first decoding, and shows it before it is finished: two
threads that decode a type for the first time at once can end the process (SIGSEGV). So decoders are made one at a time.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_one_at_a_time = threading.Lock()
_made: dict[type, Any] = {}


def decode(data: bytes | str, kind: type[_T]) -> _T:
    """The `kind` in `data`. Raises `msgspec.MsgspecError`, `UnicodeDecodeError`."""
    return decoder(kind).decode(data)


def decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """A decoder for `kind`, made on one thread at a time."""
    with _one_at_a_time:
        made: msgspec.json.Decoder[_T] | None = _made.get(kind)
        if made is None:
            made = _made[kind] = msgspec.json.Decoder(kind)
    return made
