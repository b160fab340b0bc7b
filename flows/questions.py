"""Questions from the command line or from a file, checked before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.flows.exits import UsageError


class Question(msgspec.Struct, frozen=True):
    """`id` is the asker's own name for it; empty for a question typed by hand."""

    id: str
    text: str


class _Line(msgspec.Struct):
    text: str
    id: str | int | None = None
    other: str | int | None = msgspec.field(default=None, name="_id")


def typed(text: str) -> list[Question]:
    """The question somebody typed. Raises `UsageError` if it is empty."""
    if not text.strip():
        raise UsageError("the question is empty; write what you are looking for")
    return [Question("", text)]


def read(path: Path) -> list[Question]:
    """The questions of a JSON-lines file: `_id` or `id`, and `text`. `UsageError` names the line."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    questions = [_question(f"{path}, line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise UsageError(f"{path}: holds no question; write one JSON object per line")
    return questions


def _question(where: str, line: bytes) -> Question:
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f'{where}: {error}; needed is {{"_id": "…", "text": "…"}}') from None
    name = found.other if found.other is not None else found.id
    if name is None:
        raise UsageError(f"{where}: has neither _id nor id; answers could not be told apart")
    if not found.text.strip():
        raise UsageError(f"{where}: text is empty; every question needs some")
    return Question(str(name), found.text)
