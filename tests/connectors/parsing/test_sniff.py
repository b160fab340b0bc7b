"""The kind of a file is told by its content."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.parsers.parsed import Unparsable
from penstock.connectors.parsing.sniff import kind_of
from tests.connectors import samples

MAIL = samples.message().as_bytes()
TABLE = b"name;born;city\n" + b"Ada;1815;London\n" * 5


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return out.getvalue()


def stored(mimetype: bytes) -> bytes:
    """An archive whose first member says what it is, as OpenDocument and EPUB files do."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("mimetype", mimetype)
        made.writestr("content.xml", "<x/>")
    return out.getvalue()


def ole(*streams: str) -> bytes:
    """An OLE compound file as far as its directory."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[30:32] = (9).to_bytes(2, "little")
    entries = b""
    for name in ("Root Entry", *streams):
        raw = name.encode("utf-16-le") + b"\0\0"
        entries += raw.ljust(64, b"\0") + len(raw).to_bytes(2, "little") + bytes(62)
    return bytes(header) + entries.ljust(512, b"\0")


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        made.addfile(info, io.BytesIO(b"words"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "name", "data"),
    [
        ("pdf", "a.txt", samples.pdf("x")),
        ("pdf", "a", b"junk from a mail gateway\r\n" + samples.pdf("x")),
        ("text", "a.txt", b"A PDF file begins with %PDF-1.4, they say."),
        ("docx", "a.zip", archive("[Content_Types].xml", "word/document.xml")),
        ("xlsx", "a.zip", archive("[Content_Types].xml", "xl/workbook.xml")),
        ("docx", "a.xlsx", samples.word(("Normal", "x"))),
        ("xlsx", "a.docx", samples.workbook({"S": [["x"]]})),
        ("pptx", "a.pdf", samples.slides(("T", "x"))),
        ("zip", "a.pdf", archive("a.txt")),
        ("zip", "a.docx", archive("word/document.xml")),
        ("xlsx", "a", samples.repacked(samples.workbook({"S": [["x"]]}), "word/document.xml", b"<decoy/>")),
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
        ("text", "a.txt", "Grüße, über alles".encode("utf-16")),
        ("text", "a.txt", "Grüße".encode("utf-32")),
        ("json", "a.txt", b'{"a": [1, 2.5e3, true, null]}'),
        ("json", "a", '[{"ä": "\\u00e9"}]'.encode("utf-16")),
        ("json", "a.jpg", b'{\n  "a": "' + b"x" * 100_000 + b'"\n}'),
        ("json", "a", b"\xef\xbb\xbf\n[1,\n2]"),
        ("json", "a.json", b'{"torn": [1, 2'),
        ("json", "a", b'{"torn": "in a str'),
        ("jsonl", "a.txt", b'{"a": 1}\n{"b": 2}\n'),
        ("jsonl", "a.json", b'{"a": 1}\r\n\r\n[2]\r\n{"torn'),
        ("jsonl", "a.jsonl", b'{"a": 1}\n'),
        ("text", "a.log", b"[2024-01-01 10:00:00] INFO started\n" * 5),
        ("text", "a.log", b"[1] first\n[2] second\n"),
        ("text", "a.txt", b"[see](http://x) and more"),
        ("text", "a.j2", b"{{ template }} and {% block %}"),
        ("text", "a.ini", b"[section]\nkey = value\n"),
        ("text", "a.json", b'{"a": 1} // with a comment'),
        ("text", "a.js", b"{ let a = 1 }"),
        ("eml", "a.pdf", MAIL),
        ("eml", "1700000000.M5P6.host:2,S", b"Return-Path: <a@b>\nReceived: by x\n\tfor y\nFrom: a@b\n\nwords"),
        ("eml", "a.eml", b"Subject: s\nFrom: a@b\n\nwords"),
        ("eml", "a", b"From a@b Fri Jan  3 10:00:00 2020\n" + MAIL),
        ("text", "a.yaml", b"from: a\nto: b\nsubject: c\n"),
        ("text", "a.txt", b"Note: this is\nno message: at all\n"),
        ("text", "a.patch", b"From 1234 Mon Sep 17 00:00:00 2001\nFrom: a@b\nDate: x\nSubject: [PATCH] y\n\n---\n"),
        ("csv", "a.csv", b"just one column\nof words\n"),
        ("csv", "a.TSV", b"a\tb\n1\t2\n"),
        ("csv", "a.txt", TABLE),
        ("csv", "a", TABLE.replace(b";", b",")),
        ("text", "a.log", TABLE),
        ("text", "a.txt", b"Well, he said, no.\nYes, then, I do, or not.\nOne\nTwo, three, four.\nx\ny\n"),
        ("text", "a.txt", b"| a | b |\n|---|---|\n" + b"| 1 | 2 |\n" * 5),
        ("json", "a.csv", b'{"a": 1}'),
        ("text", "a.txt", b"ID3 is a tag, and BZh is a magic"),
        ("text", "a.txt", b"BM is a name as good as any other"),
    ],
)
def test_kind_is_found_by_content_and_the_name_only_settles_the_rest(kind: str, name: str, data: bytes) -> None:
    """A name may lie; a README may begin with markup; a comment is no heading; a log is no JSON."""
    assert kind_of(data, name) == kind


@pytest.mark.parametrize(
    ("called", "data"),
    [
        ("gzip", gzip.compress(b"words " * 500, mtime=0)),
        ("bzip2", bz2.compress(b"words " * 500)),
        ("xz", lzma.compress(b"words " * 500)),
        ("tar", tar()),
        ("7z", b"7z\xbc\xaf'\x1c\x00\x04" + bytes(40)),
        ("RAR", b"Rar!\x1a\x07\x01\x00" + bytes(40)),
        ("PNG", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"),
        ("JPEG", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
        ("sound", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(40)),
        ("MPEG-4", b"\x00\x00\x00\x18ftypmp42" + bytes(40)),
        ("program", b"\x7fELF\x02\x01\x01" + bytes(60)),
        ("program", b"MZ".ljust(60, b"\0") + (64).to_bytes(4, "little") + b"PE\0\0"),
        ("SQLite", b"SQLite format 3\x00" + bytes(40)),
        ("older Word", ole("WordDocument")),
        ("older Excel", ole("Workbook")),
        ("Outlook", ole("__properties_version1.0")),
        ("older Microsoft Office", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"old word file" * 50),
        ("Rich Text", b"{\\rtf1\\ansi words}"),
        ("OpenDocument text", stored(b"application/vnd.oasis.opendocument.text")),
        ("OpenDocument spreadsheet", stored(b"application/vnd.oasis.opendocument.spreadsheet")),
        ("EPUB", stored(b"application/epub+zip")),
        ("Java", archive("META-INF/MANIFEST.MF", "a/B.class")),
        ("cannot be opened", b"PK\x03\x04 torn"),
        ("several messages", 2 * (b"From a@b Fri Jan  3 10:00:00 2020\n" + MAIL + b"\n")),
        ("no kind", bytes(range(256)) * 4),
        ("no kind", b"words\x00" * 100),
    ],
)
def test_what_is_not_read_is_unsupported_and_called_by_its_name(called: str, data: bytes) -> None:
    """Binary files are never misread as text in some encoding."""
    with pytest.raises(Unparsable) as refused:
        kind_of(data, "file.txt")
    assert refused.value.reason == "unsupported" and called in refused.value.detail


def test_a_binary_workbook_is_told_from_one_in_xml() -> None:
    """By the type of its main part."""
    book = samples.workbook({"S": [["x"]]})
    with zipfile.ZipFile(io.BytesIO(book)) as opened:
        types = opened.read("[Content_Types].xml").decode()
    plain = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    binary = types.replace(plain, "application/vnd.ms-excel.sheet.binary.macroEnabled.main")
    with pytest.raises(Unparsable, match="binary Excel workbook"):
        kind_of(samples.repacked(book, "[Content_Types].xml", binary.encode()), "a.xlsb")


def test_an_office_file_under_a_password_is_encrypted() -> None:
    """It is an OLE file around the encrypted package."""
    with pytest.raises(Unparsable) as refused:
        kind_of(ole("EncryptionInfo", "EncryptedPackage"), "a.docx")
    assert refused.value.reason == "encrypted"


@pytest.mark.parametrize(
    "again", [b"[a", b"From " + b"x" * 40, b"`a", b"{", b'"a\\', b"<!--", b"A: b\n", b"**a", b",,\n"]
)
def test_no_text_takes_long_to_be_told(again: bytes) -> None:
    """Patterns that search a whole head look no further back than a line's worth."""
    began = time.process_time()
    for name in ("a.txt", "a.csv", "a.md"):
        kind_of(again * (200_000 // len(again)), name)
    assert time.process_time() - began < 1


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{", b"[", b"From: a\n", b"MZ", b"%PDF-"]
    ),
    rest=st.binary(max_size=200) | st.text(st.sampled_from('{}[]":, \n-1ae;|\t#<'), max_size=200).map(str.encode),
    name=st.sampled_from(["", "a.csv", "a.json", "a.eml", "a.pdf", "a.jsonl"]),
)
def test_any_bytes_have_a_kind_or_a_reason(start: bytes, rest: bytes, name: str) -> None:
    """Nothing else is ever raised."""
    try:
        assert kind_of(start + rest, name) in {
            "pdf", "docx", "xlsx", "pptx", "zip", "html", "markdown", "text", "json", "jsonl", "eml", "csv",
        }  # fmt: skip
    except Unparsable as error:
        assert error.reason in ("empty", "unsupported", "encrypted")
