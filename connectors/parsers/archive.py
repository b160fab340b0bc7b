"""ZIP archives opened with care: sizes, ratios, passwords and entities are judged before anything is unpacked.

`zipfile` never unpacks more of a member than the archive declares for it (and then finds the checksum wrong),
so the declared sizes are a bound that a lie cannot lift.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from xml.parsers import expat

from penstock.connectors.parsers.parsed import Unparsable

MOST_UNPACKED = 512 << 20
MOST_RATIO = 200
"""Office XML and text pack to a tenth, logs to a hundredth; a bomb packs to a thousandth."""
RATIO_FROM = 1 << 20
"""Bytes; what is smaller may pack as it likes."""

_MAX_PARTS = 10_000
_DOCTYPE = b"<!DOCTYPE"
_PROLOG = 1 << 16
_FOREIGN = ("svg+xml", "xhtml+xml")
_TYPES = "[Content_Types].xml"
_TYPES_LIMIT = 4 << 20
_TYPE = re.compile(r"<(?:\w+:)?(Default|Override)\b([^>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
"""What `zipfile` raises while it unpacks a member that is damaged or packed by a method that it does not know."""


def is_bomb(part: zipfile.ZipInfo) -> bool:
    """Whether the member packs better than anything that is worth reading."""
    return part.file_size > RATIO_FROM and part.file_size > MOST_RATIO * max(1, part.compress_size)


def check_office(data: bytes, name: str) -> None:
    """Refuses an Office Open XML file that would harm its parser.

    Raises `Unparsable`: `damaged` when it is no archive or a part declares a document type (entities come with
    it, and no such file needs one), `encrypted` when a part has a password, `too_large` when it would unpack to
    more than 512 MiB, to 10,000 parts, or like an archive bomb.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive.infolist(), len(data), name)
            types = content_types(archive)
            for part in archive.infolist():
                if _is_xml(part.filename, types):
                    with archive.open(part) as opened:
                        if has_document_type(opened.read(_PROLOG)):
                            raise Unparsable("damaged", f"{part.filename} in {name} declares entities")
    except BROKEN as error:
        raise Unparsable("damaged", f"the archive {name} cannot be read: {type(error).__name__}: {error}") from error


def _check_sizes(parts: list[zipfile.ZipInfo], size: int, name: str) -> None:
    if any(part.flag_bits & 1 for part in parts):
        raise Unparsable("encrypted", f"{name} needs a password")
    unpacked = sum(part.file_size for part in parts)
    if len(parts) > _MAX_PARTS or unpacked > MOST_UNPACKED:
        raise Unparsable("too_large", f"{name} would unpack to {len(parts)} parts, {unpacked} bytes")
    if unpacked > RATIO_FROM and unpacked > MOST_RATIO * size:
        raise Unparsable("too_large", f"{name} would unpack {unpacked // size}-fold, like an archive bomb")


def content_types(archive: zipfile.ZipFile) -> dict[str, str]:
    """What an Office Open XML file says of its parts: content types by `/part/name` and by `.extension`."""
    if _TYPES not in archive.namelist():
        return {}
    with archive.open(_TYPES) as opened:
        raw = opened.read(_TYPES_LIMIT)
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    found = {}
    for _, inside in _TYPE.findall(text):
        said = {key: double or single for key, double, single in _ATTRIBUTE.findall(inside)}
        of = said.get("PartName") or "." + said.get("Extension", "")
        found[of.lower()] = said.get("ContentType", "").lower()
    return found


def _is_xml(part: str, types: dict[str, str]) -> bool:
    """Parts that a parser would take for XML. Pictures, web pages and printer settings lie inside as they came:
    they may well name a document type, and nobody reads them."""
    part = part.lower()
    extension = part[part.rfind(".") :]
    declared = types.get("/" + part, types.get(extension, ""))
    return extension in (".xml", ".rels", ".vml") or (declared.endswith("xml") and not declared.endswith(_FOREIGN))


class _Over(Exception):
    """The prolog has been read; `declares` says what was in it."""

    def __init__(self, declares: bool) -> None:
        self.declares = declares


def has_document_type(head: bytes) -> bool:
    """Whether an XML document that begins like this declares a document type, in any encoding that expat reads.

    A head without a root element (64 KiB of comments) is taken to hide one.
    """
    reader = expat.ParserCreate()

    def over(declares: bool) -> None:
        raise _Over(declares)

    reader.StartDoctypeDeclHandler = lambda *_: over(True)
    reader.StartElementHandler = lambda *_: over(False)
    try:
        reader.Parse(head, False)
    except _Over as found:
        return found.declares
    except expat.ExpatError:
        return _DOCTYPE in head[:1024]  # no XML, or in an encoding of its own
    return len(head) >= _PROLOG and head.lstrip()[:1] == b"<"
