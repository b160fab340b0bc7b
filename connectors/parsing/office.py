"""What lies in an archive: an Office Open XML document by its main part, or just files."""

from __future__ import annotations

import io
import re
import zipfile

from penstock.connectors.parsers.archive import BROKEN, content_types
from penstock.connectors.parsers.parsed import Unparsable

_RELATIONS = "_rels/.rels"
_RELATION = re.compile(r"<(?:\w+:)?Relationship\b([^>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_MAIN_TYPES = (
    ("wordprocessingml.", "docx"),
    ("spreadsheetml.", "xlsx"),
    ("presentationml.", "pptx"),
    ("ms-word.", "docx"),
    ("ms-excel.", "xlsx"),
    ("ms-powerpoint.", "pptx"),
)
_FOLDERS = (("word/", "docx"), ("xl/", "xlsx"), ("ppt/", "pptx"))
_UNREAD_TYPES = (
    (".sheet.binary.", "a binary Excel workbook (.xlsb)"),
    ("ms-visio", "a Visio drawing"),
    ("ms-package.xps", "an XPS document"),
    ("ms-package.3dmanufacturing", "a 3D model"),
)
_MIMETYPES = (  # the first member of OpenDocument and EPUB files, stored, so that it stands at a known place
    (b"application/vnd.oasis.opendocument.text", "an OpenDocument text"),
    (b"application/vnd.oasis.opendocument.spreadsheet", "an OpenDocument spreadsheet"),
    (b"application/vnd.oasis.opendocument.presentation", "an OpenDocument presentation"),
    (b"application/vnd.oasis.opendocument", "an OpenDocument file"),
    (b"application/epub+zip", "an EPUB book"),
)


def archive_kind(data: bytes, name: str) -> str:
    """`docx`, `xlsx`, `pptx` or `zip`. Raises `Unparsable` (`unsupported`) for documents of kinds that are not read."""
    for mimetype, called in _MIMETYPES:
        if data[30:].startswith(b"mimetype" + mimetype):
            raise _unsupported(name, called)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            types = content_types(archive)
            main = _main_part(archive, names)
    except BROKEN as error:
        if kind := next((kind for folder, kind in _FOLDERS if folder.encode() in data[:8192]), ""):
            return kind  # its parser says what is damaged
        raise Unparsable("unsupported", f"{name} is an archive that cannot be opened: {error}") from error
    if "[Content_Types].xml" not in names:
        if "META-INF/MANIFEST.MF" in names and any(each.endswith((".class", ".dex")) for each in names):
            raise _unsupported(name, "a Java or Android program")
        return "zip"
    return _office(name, names, types, main)


def _office(name: str, names: list[str], types: dict[str, str], main: str) -> str:
    said = types.get(main.lower(), types.get(main[main.rfind(".") :].lower(), "")) if main else ""
    for part, called in _UNREAD_TYPES:
        if part in said or (not main and any(part in each for each in types.values())):
            raise _unsupported(name, called)
    for part, kind in _MAIN_TYPES:
        if part in said:
            return kind
    for folder, kind in _FOLDERS:
        if any(each.startswith(folder) for each in names):
            return kind
    return "zip"


def _main_part(archive: zipfile.ZipFile, names: list[str]) -> str:
    """The part that the package itself names as the document, as `/part/name`; "" when it names none."""
    if _RELATIONS not in names:
        return ""
    with archive.open(_RELATIONS) as opened:
        text = opened.read(1 << 20).decode("utf-8", "replace")
    for inside in map(str, _RELATION.findall(text)):
        said = {key: double or single for key, double, single in _ATTRIBUTE.findall(inside)}
        if said.get("Type", "").endswith("/officeDocument"):
            return f"/{said.get('Target', '').lstrip('/')}"
    return ""


def _unsupported(name: str, called: str) -> Unparsable:
    return Unparsable("unsupported", f"{name} is {called}, which is not read")
