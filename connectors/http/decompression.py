"""Bodies that came compressed, unpacked piece by piece within bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from penstock.connectors.http.faults import Fault

FREE = 1 << 20
"""Bytes before the ratio counts: a small page of white space is no bomb."""
STEP = 256 << 10
"""Most bytes unpacked at once, so that a bomb is noticed before it takes memory."""
MEMBER = b"\x1f\x8b"


def unpacked(pieces: Iterable[bytes], encoding: str, *, max_ratio: int) -> Iterator[bytes]:
    """The body itself. `encoding` is the header Content-Encoding.

    Raises `Fault`: `garbled` for an encoding that was not asked for, for what is no gzip, and for more than
    `max_ratio` bytes out of each byte that came; `truncated` where the end is missing.
    """
    named = encoding.strip().lower()
    if named in ("", "identity"):
        yield from pieces
    elif named in ("gzip", "x-gzip"):
        yield from gunzipped(pieces, max_ratio)
    else:
        raise Fault("garbled", f"the answer is encoded as {named[:40]!r}, which was not asked for")


def gunzipped(pieces: Iterable[bytes], max_ratio: int) -> Iterator[bytes]:
    """A gzip stream of one member or more."""
    unzip = zlib.decompressobj(wbits=31)
    came = made = 0
    for piece in pieces:
        came += len(piece)
        rest = piece
        while rest:
            if unzip.eof:
                unzip = zlib.decompressobj(wbits=31)
            try:
                out = unzip.decompress(rest, STEP)
            except zlib.error as error:
                raise Fault("garbled", f"the answer says that it is gzip and is not: {error}") from None
            made += len(out)
            if made > FREE and made > came * max_ratio:
                raise Fault("garbled", f"the answer unpacks to more than {max_ratio} times its size")
            if out:
                yield out
            rest = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    if came and not unzip.eof:
        raise Fault("truncated", "the gzip data of the answer has no end")
