"""What kind of file this is, told by its content. The name only settles what content cannot."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.parsed import Unparsable

_HEAD = 4096
_MARKDOWN_NAMES = {".md", ".markdown", ".mdown", ".mkd"}
_HTML_NAMES = {".html", ".htm", ".xhtml"}
_SILENT_NAMES = {"", ".txt", ".text"}  # a `#` in a .py or .sh file is a comment, not a heading
_BEFORE_MARKUP = re.compile(r"\A(?:\s+|<\?xml.*?\?>|<!--.*?-->)*", re.DOTALL)
_WHOLE_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FRAGMENT = re.compile(
    r"<(?:title|meta|link|style|script|table|div|section|article|main|nav|header|h[1-6]|p|ul|ol|a|span)\b[^>]*>",
    re.IGNORECASE,
)
_MARKDOWN_SIGNS = (
    re.compile(r"^#{1,6} \S", re.MULTILINE),
    re.compile(r"^(?:```|~~~)", re.MULTILINE),
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)"),
    re.compile(r"\*\*\S[^*\n]*\*\*|(?<!`)`[^`\n]+`"),
    re.compile(r"^\|.+\|$\n^\|[ :|-]+\|$", re.MULTILINE),
)
_NOT_TEXT = (
    (b"{\\rtf", "Rich Text Format"),
    (b"%!PS", "PostScript"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Microsoft Office file"),
)


def kind_of(data: bytes, name: str) -> str:
    """`pdf`, `docx`, `html`, `markdown` or `text`.

    Raises `Unparsable`: `empty` when there is nothing but white space, `unsupported` for all else.
    """
    if not data.strip():
        raise Unparsable("empty", f"{name} is empty")
    if _is_pdf(data):
        return "pdf"
    if data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        return _archive(data, name)
    for magic, called in _NOT_TEXT:
        if data.startswith(magic):
            raise Unparsable("unsupported", f"{name} is {called}, which is not read")
    return _text(data, name)


def _is_pdf(data: bytes) -> bool:
    at = data[:1024].find(b"%PDF-")
    if at < 0:
        return False
    # A text may speak of "%PDF-"; after other bytes the rest of the structure has to be there as well.
    return not data[:at].strip(b"\xef\xbb\xbf \t\r\n\x00") or b"startxref" in data or b" obj" in data[:8192]


def _archive(data: bytes, name: str) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except Exception as error:
        if b"[Content_Types].xml" in data[:_HEAD] or b"word/" in data[:_HEAD]:
            return "docx"  # its parser says what is damaged
        raise Unparsable("unsupported", f"{name} is an archive that cannot be opened: {error}") from error
    if "[Content_Types].xml" in names and any(each.startswith("word/") for each in names):
        return "docx"
    raise Unparsable("unsupported", f"{name} is an archive and not a Word document")


def _text(data: bytes, name: str) -> str:
    head = data[: 16 * _HEAD]
    head = head if len(head) == len(data) else head[: head.rfind(b"\n") + 1] or head
    decoded = decode(head)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} is a binary file of no kind that is read")
    suffix = PurePosixPath(name).suffix.lower()
    start = decoded.text[:_HEAD]
    start = start[_BEFORE_MARKUP.match(start).end() :]  # type: ignore[union-attr]  # it matches the empty string
    if _WHOLE_PAGE.match(start):
        return "html"
    if suffix in _MARKDOWN_NAMES:
        return "markdown"
    if _FRAGMENT.match(start) or (suffix in _HTML_NAMES and re.search(r"<[a-zA-Z!]", start)):
        return "html"
    signs = sum(bool(sign.search(decoded.text)) for sign in _MARKDOWN_SIGNS)
    return "markdown" if suffix in _SILENT_NAMES and signs >= 3 else "text"
