"""What a text shows of its structure: headings, paragraphs, list items, rows of tables, lines of code.

Every pass is linear: a pattern begins with a line break and never looks at a character twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from penstock.embed.chunking.sentences import sentence_ends

Spans = list[tuple[int, int]]

_LINE = re.compile(
    r"\n(?:"
    r"(?P<blank>[^\S\n]*+(?=\n))"
    r"|(?P<fence>\ {0,3}(?:```|~~~))"
    r"|(?P<heading>\#{1,6}[ \t]++(?=\S))"
    r"|(?P<item>[ \t]*+(?:[-*+•‣◦–]|\d{1,3}[.)]|[A-Za-z]\)|\((?:\d{1,3}|[A-Za-z])\))[ \t]++(?=\S))"
    r"|(?P<indent>\ {4}|\t)"
    r")"
)
_CODE = re.compile(
    r"[;{}=<>\\$_]|\w\(|:$|^\s*+(?:def|class|return|import|from|else|try|fn|let|var|const|func|end|#|//|>>>)(?!\w)"
)


@dataclass(slots=True)
class Structure:
    """Positions in characters of the first character at, or right before, the place; ascending, but for `lines`.

    `headings` start sections. `blocks` follow a blank line and are indented: parts of something larger. `lines` are
    starts of rows and of lines of code. `rows` are the spans of those lines, `tables` of rows one after the other.
    """

    headings: Sequence[int]
    sentences: Sequence[int]
    paragraphs: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    rows: Spans = field(default_factory=list)
    tables: Spans = field(default_factory=list)


def structure(text: str, headings: Sequence[int]) -> Structure:
    """The structure of `text`. Markdown's `#` is looked for where no `headings` are known."""
    found = Structure(headings, sentence_ends(text))
    marks = list(_marks(text, found))
    fenced = _fenced(text, marks)
    code = sorted(fenced + _indented(text, [mark for mark in marks if not _within(fenced, mark[1])]))
    outside = [(kind, start) for kind, start in marks if not _within(code, start)] if code else marks
    found.items = [start for kind, start in outside if kind == "item"]
    if not len(headings):
        found.headings = [start for kind, start in outside if kind == "heading" and _is_heading(text, start)]
    rows = [row for row in _rows(text) if not _within(code, row[0])]
    found.tables = _tables(rows)
    found.rows = sorted(rows + [line for first, last in code for line in _lines(text, first, last)])
    return found


def _marks(text: str, found: Structure) -> Iterator[tuple[str, int]]:
    """(kind, start) of lines that begin with something; blank lines go to `found` as what comes after them."""
    for match in _LINE.finditer("\n" + text):  # so that the first line is one, too; and a position is its line's start
        kind, start = match.lastgroup or "", match.start()
        if kind != "blank":
            yield kind, start
            continue
        after = text[match.end() : match.end() + 1]
        if after and after != "\n":
            (found.blocks if after in " \t" else found.paragraphs).append(match.end())


def _fenced(text: str, marks: Sequence[tuple[str, int]]) -> Spans:
    """Blocks between two fences of one kind; a fence that is not closed is none."""
    spans, opened = [], -1
    mark = ""
    for kind, start in marks:
        if kind != "fence":
            continue
        sign = text[start : start + 4].lstrip()[:1]
        if opened < 0:
            opened, mark = start, sign
        elif sign == mark:
            spans.append((opened, _line_end(text, start)))
            opened = -1
    return spans


def _indented(text: str, marks: Sequence[tuple[str, int]]) -> Spans:
    """Blocks of indented lines of which at least half look like code: an indented paragraph is a paragraph."""
    groups: list[list[int]] = []
    end = 0
    for kind, start in marks:
        if kind != "indent":
            continue
        if not groups or text[end:start].strip():
            groups.append([])
        groups[-1].append(start)
        end = _line_end(text, start)
    return [(group[0], _line_end(text, group[-1])) for group in groups if _is_code(text, group)]


def _is_code(text: str, lines: Sequence[int]) -> bool:
    alike = sum(_CODE.search(text[start : min(_line_end(text, start), start + 200)]) is not None for start in lines)
    return len(lines) > 1 and 2 * alike >= len(lines)


def _rows(text: str) -> Spans:
    """Lines with cells set off by tabs or bars."""
    rows = {}
    for sign in "|\t":
        at = text.find(sign)
        while at >= 0:
            start, end = text.rfind("\n", 0, at) + 1, _line_end(text, at)
            line = text[start:end].strip()
            if "\t" in line or " | " in line or line[:1] == "|":
                rows[start] = end
            at = text.find(sign, end)
    return sorted(rows.items())


def _tables(rows: Spans) -> Spans:
    """Runs of two or more rows without a line between them."""
    tables: Spans = []
    first = last = 0
    for k, (start, _) in enumerate(rows):
        if k and start != rows[k - 1][1] + 1:
            first = k
        last = k
        if last == first + 1:
            tables.append((rows[first][0], rows[last][1]))
        elif last > first:
            tables[-1] = (tables[-1][0], rows[last][1])
    return tables


def _lines(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    while first < last:
        end = min(_line_end(text, first), last)
        if end > first:
            yield first, end
        first = end + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)


def _is_heading(text: str, start: int) -> bool:
    """Two signs say it; one alone, which also begins comments, only with nothing in the lines around it."""
    if text.startswith("##", start):
        return True
    before, end = text[max(0, start - 2) : start], _line_end(text, start)
    return before in ("", "\n", "\n\n") and text[end : end + 2] in ("", "\n", "\n\n")


def _within(spans: Spans, at: int) -> bool:
    """Whether `at` lies in one of `spans`, which are sorted."""
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        if spans[middle][0] <= at:
            low = middle + 1
        else:
            high = middle
    return low > 0 and at < spans[low - 1][1]
