"""Questions from the command line or from a file, checked before anything heavy is loaded."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

import msgspec

from penstock.flows.answers.exits import UsageError
from penstock.index.decoding import decode

STDIN = "-"


class Question(msgspec.Struct, frozen=True):
    """`id` is the asker's own name for it; empty for a question typed by hand."""

    id: str
    text: str


class _Line(msgspec.Struct):
    text: str
    id: str | int | None = None
    other: str | int | None = msgspec.field(default=None, name="_id")


def typed(text: str) -> list[Question]:
    """The question somebody typed. Raises `UsageError` if it is empty, or no text at all."""
    text = _decoded(text)
    if not text.strip():
        raise UsageError("the question is empty; write what you are looking for")
    return [Question("", text)]


def read(path: Path) -> list[Question]:
    """The questions of a JSON-lines file: `_id` or `id`, and `text`; `-` is stdin. `UsageError` names the line."""
    where = "stdin" if str(path) == STDIN else str(path)
    try:
        lines = _bytes(path).removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror}); check the path") from None
    questions = [_question(f"{where}, line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise UsageError(f"{where}: holds no question; write one JSON object per line")
    return questions


def _bytes(path: Path) -> bytes:
    if str(path) != STDIN:
        return path.read_bytes()
    if sys.stdin is None:
        raise UsageError("stdin is closed; name a file, or pipe the questions in")
    return sys.stdin.buffer.read()


def _decoded(text: str) -> str:
    """An argument that the locale could not decode is UTF-8 all the same, or no question."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(text).decode()
        except UnicodeError:
            raise UsageError("the question is not valid UTF-8; type it on a UTF-8 terminal, or use --queries") from None
    return text


def _question(where: str, line: bytes) -> Question:
    try:
        found = decode(line, _Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f'{where}: {error}; needed is {{"_id": "…", "text": "…"}}') from None
    name = found.other if found.other is not None else found.id
    if name is None:
        raise UsageError(f"{where}: has neither _id nor id; answers could not be told apart")
    if not found.text.strip():
        raise UsageError(f"{where}: text is empty; every question needs some")
    return Question(str(name), found.text)
