"""Digests that a server sends with an answer: RFC 9530, its forerunner Digest, and Content-MD5.

Only sha-256 and md5 are checked (and md5 as a checksum: nothing is trusted because of it). What cannot be read is as
good as none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from penstock.connectors.http.faults import Fault

SIZES = {"sha-256": 32, "md5": 16}
_ONE = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*:?([A-Za-z0-9+/]{16,128}={0,2}):?\s*")

Digests = dict[str, bytes]
"""Algorithm to digest."""


def of_the_content(headers: Mapping[str, str]) -> Digests:
    """Digests of the bytes of this very message."""
    return {**read(headers.get("content-digest", "")), **read(f"md5={headers.get('content-md5', '').strip()}")}


def of_the_whole(headers: Mapping[str, str]) -> Digests:
    """Digests of the whole, also where this message is a part of it."""
    return {**read(headers.get("digest", "")), **read(headers.get("repr-digest", ""))}


def read(header: str) -> Digests:
    """`sha-256=:…:, md5=:…:` or `SHA-256=…,MD5=…`."""
    found: Digests = {}
    for part in header[:2000].split(","):
        match = _ONE.fullmatch(part)
        if match is None or match[1].lower() not in SIZES:
            continue
        try:
            value = base64.b64decode(match[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(value) == SIZES[match[1].lower()]:
            found[match[1].lower()] = value
    return found


def checked(pieces: Iterable[bytes], digests: Digests) -> Iterator[bytes]:
    """The same pieces. Raises `Fault` (garbled) at their end if they are not what a digest says."""
    hashes = {name: hasher(name) for name in digests}
    for piece in pieces:
        for hashed in hashes.values():
            hashed.update(piece)
        yield piece
    for name, hashed in hashes.items():
        if hashed.digest() != digests[name]:
            raise Fault("garbled", f"the {name} digest of what came is not the announced one")


def check_file(path: Path, digests: Digests) -> None:
    """The same for a file."""
    if digests:
        with path.open("rb") as file:
            for _ in checked(iter(lambda: file.read(1 << 20), b""), digests):
                pass


def hasher(name: str) -> hashlib._Hash:
    return hashlib.sha256() if name == "sha-256" else hashlib.md5(usedforsecurity=False)
