"""What kind of file this is, told by its content. The name only settles what content cannot."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.csv import DELIMITERS, regularity
from penstock.connectors.parsers.parsed import Unparsable
from penstock.connectors.parsing.magic import ole_kind, signature
from penstock.connectors.parsing.office import archive_kind

_HEAD = 4096
_MARKDOWN_NAMES = {".md", ".markdown", ".mdown", ".mkd"}
_HTML_NAMES = {".html", ".htm", ".xhtml"}
_TABLE_NAMES = {".csv", ".tsv", ".tab", ".psv"}
_MAIL_NAMES = {".eml", ".email", ".mht", ".mhtml", ".mbox", ".mbx"}
_LINES_NAMES = {".jsonl", ".ndjson"}
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
    re.compile(r"\[[^\[\]\n]{1,500}\]\([^)\s]{1,2000}\)"),
    re.compile(r"\*\*\S[^*\n]*\*\*|(?<!`)`[^`\n]+`"),
    re.compile(r"^\|.+\|$\n^\|[ :|-]+\|$", re.MULTILINE),
)
_JSON_TOKENS = re.compile(
    r"""(?:[\s{}\[\],:]+|"(?:[^"\\\x00-\x08]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|-?Infinity|NaN|true|false|null)*+""",
    re.DOTALL,
)
_JSON_START = re.compile(r'\{\s*["}]|\[\s*(?:[\[{"\]]|-?\d|true|false|null|NaN|-?Infinity)|[\[{]\s*\Z')
_JSON_LINE = 8 << 20
_ENVELOPE = re.compile(r"From \S{1,300} [^\n]{1,60}\d\d:\d\d[^\n]{0,60}\n")
_ENVELOPES = re.compile(b"^" + _ENVELOPE.pattern.encode(), re.MULTILINE)
_HEADER = re.compile(r"([!-9;-~]{1,100}):(?=[ \t\n])(.*)\n|[ \t]+\S.*\n")
_SURE_HEADERS = {"message-id", "received", "mime-version", "return-path", "delivered-to", "dkim-signature"}
_MAIL_HEADERS = _SURE_HEADERS | {"from", "to", "cc", "subject", "date", "reply-to", "sender", "content-type"}
_REGULAR_ROWS = 5
_REGULAR = 1.003  # every row as wide as the others, and at least three cells wide


def kind_of(data: bytes, name: str) -> str:
    """The module of `connectors/parsers` that reads it.

    Raises `Unparsable`: `empty` when there is nothing but white space, `encrypted` for an office file under a
    password, `unsupported` for all else, with the name of what it is where that can be told.
    """
    if not data.strip():
        raise Unparsable("empty", f"{name} is empty")
    if _is_pdf(data):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK00PK\x03\x04")):
        return archive_kind(data, name)
    if (called := ole_kind(data)) == "":
        raise Unparsable("encrypted", f"{name} needs a password")
    if called := called or signature(data):
        raise Unparsable("unsupported", f"{name} is {called}, which is not read")
    return _text(data, name)


def _is_pdf(data: bytes) -> bool:
    at = data[:1024].find(b"%PDF-")
    if at < 0:
        return False
    # A text may speak of "%PDF-"; after other bytes the rest of the structure has to be there as well.
    return not data[:at].strip(b"\xef\xbb\xbf \t\r\n\x00") or b"startxref" in data or b" obj" in data[:8192]


def _text(data: bytes, name: str) -> str:
    head = data[: 16 * _HEAD]
    head = head if len(head) == len(data) else head[: head.rfind(b"\n") + 1] or head
    decoded = decode(head)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} is a binary file of no kind that is read")
    suffix = PurePosixPath(name).suffix.lower()
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    if _is_json(text):
        return "jsonl" if _is_lines(data, decoded.encoding, suffix) else "json"
    if _is_mail(text, suffix):
        if data.startswith(b"From ") and len(_ENVELOPES.findall(data)) > 1:
            raise Unparsable("unsupported", f"{name} is a mailbox of several messages, which is not read")
        return "eml"
    return _markup(text, suffix)


def _markup(text: str, suffix: str) -> str:
    start = text[:_HEAD]
    start = start[_BEFORE_MARKUP.match(start).end() :]  # type: ignore[union-attr]  # it matches the empty string
    if _WHOLE_PAGE.match(start):
        return "html"
    if suffix in _MARKDOWN_NAMES:
        return "markdown"
    if _FRAGMENT.match(start) or (suffix in _HTML_NAMES and re.search(r"<[a-zA-Z!]", start)):
        return "html"
    if suffix in _TABLE_NAMES:
        return "csv"
    if suffix not in _SILENT_NAMES:
        return "text"
    if sum(bool(sign.search(text)) for sign in _MARKDOWN_SIGNS) >= 3:
        return "markdown"
    return "csv" if _is_regular(text) else "text"


def _is_json(text: str) -> bool:
    """An object or an array in which every word is JSON's, as far as the head goes. `[x](y)` and logs are not."""
    text = text.lstrip()
    if not _JSON_START.match(text[:_HEAD]):
        return False
    read = _JSON_TOKENS.match(text).end()  # type: ignore[union-attr]  # it matches the empty string
    if read == len(text):
        return True
    rest = text[read:]  # a string, a word or a figure that the end cut in two: of the head, or of a file that is torn
    return rest.startswith('"') or any(word.startswith(rest) for word in ("true", "false", "null", "-"))


def _is_lines(data: bytes, encoding: str, suffix: str) -> bool:
    """A value on each line: the first line is one whole object or array, and another one begins below."""
    width = {"utf-16": 2, "utf-32": 4}.get(encoding[:6], 1)
    text = data[: _JSON_LINE * width].decode(encoding, "replace").lstrip("\ufeff \t\r\n")
    first, _, rest = text.partition("\n")
    another = rest.lstrip()[:1]
    if suffix not in _LINES_NAMES and another not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return suffix in _LINES_NAMES


def _is_mail(text: str, suffix: str) -> bool:
    """It begins with headers of a message: some that nothing else has, or by a name that does not speak against it."""
    envelope = _ENVELOPE.match(text)
    at, found = envelope.end() if envelope else 0, set()
    while line := _HEADER.match(text, at):
        if line.group(1):
            found.add(line.group(1).lower())
        elif not found:
            return False
        at = line.end()
    if at < len(text) and text[at] != "\n" and not found & _SURE_HEADERS:
        return False
    known = len(found & _MAIL_HEADERS)
    if suffix in _MAIL_NAMES:
        return known >= 2
    return known >= 3 and (bool(found & _SURE_HEADERS) or (suffix in _SILENT_NAMES and "from" in found))


def _is_regular(text: str) -> bool:
    """Five rows or more, all equally wide, three cells or more, and not by chance: prose has commas as well."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < _REGULAR_ROWS or lines[0].startswith("|"):  # a table drawn in text
        return False
    return any(
        min(line.count(each) for line in lines[:100]) >= 2 and regularity(text, each) >= _REGULAR for each in DELIMITERS
    )
