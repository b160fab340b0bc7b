"""The kind of a file is told by its content."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from penstock.connectors.parsers.parsed import Unparsable
from penstock.connectors.parsing.sniff import kind_of
from tests.connectors import samples


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "name", "data"),
    [
        ("pdf", "a.txt", samples.pdf("x")),
        ("pdf", "a", b"junk from a mail gateway\r\n" + samples.pdf("x")),
        ("text", "a.txt", b"A PDF file begins with %PDF-1.4, they say."),
        ("docx", "a.zip", archive("[Content_Types].xml", "word/document.xml")),
        ("html", "a.txt", b"<?xml version='1.0'?><!-- x -->\n<!DOCTYPE html><html>"),
        ("html", "a.md", b"<html><body>a whole page</body></html>"),
        ("html", "a", "<!doctype html><p>x".encode("utf-16")),
        ("html", "a", b"<p>fragment</p>"),
        ("markdown", "README.md", b'<p align="center">logo</p>\n\n# Title'),
        ("markdown", "a.MD", b"just words"),
        ("markdown", "a.txt", b"# T\n\nsee [x](http://y)\n\n```\ncode\n```\n"),
        ("text", "a.py", b"# T\n\n# see [x](http://y)\n\n```\ncode\n```\n"),
        ("text", "a.txt", b"# only a comment\nvalue = 1\n"),
        ("text", "a.xml", b"<?xml version='1.0'?><data><item/></data>"),
        ("text", "a.html", b"no markup at all"),
        ("text", "a.txt", b"if a <b and c> d: <html is only mentioned"),
        ("text", "a", b"one \x00 quirk in a text"),
    ],
)
def test_kind_is_found_by_content_and_the_name_only_settles_the_rest(kind: str, name: str, data: bytes) -> None:
    """A name may lie; a README may begin with markup; a comment is no heading."""
    assert kind_of(data, name) == kind


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"words " * 500, mtime=0),
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00",
        b"\x7fELF\x02\x01\x01" + bytes(60),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"old word file" * 50,
        b"{\\rtf1\\ansi words}",
        archive("a.txt"),
        archive("[Content_Types].xml", "xl/workbook.xml"),
        b"PK\x03\x04 torn",
        bytes(range(256)) * 4,
        b"words\x00" * 100,
    ],
)
def test_what_is_of_no_kind_is_unsupported(data: bytes) -> None:
    """Binary files are never misread as text in some encoding."""
    with pytest.raises(Unparsable) as refused:
        kind_of(data, "file.txt")
    assert refused.value.reason == "unsupported"
