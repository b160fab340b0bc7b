"""Markdown: the text stays the source text; markdown-it-py (its one door) only finds where headings stand."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.outline import Heading, spans
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, tidy

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_VALUE = re.compile(r"^(title|author|date)[ \t]*:[ \t]*(.+)$", re.MULTILINE)


def parse(data: bytes, name: str) -> Parsed:
    """Headings are those of the document itself: not those inside quotations, lists or code."""
    decoded = decode(data)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    text = tidy(decoded.text)
    front = _FRONT_MATTER.match(text)
    values = dict(_FRONT_VALUE.findall(front.group(1))) if front else {}
    values = {key: value.strip().strip("\"'") for key, value in values.items()}
    headings = _headings(text, front.end() if front else 0)
    title = values.pop("title", "") or next((heading.title for heading in headings), "")
    return Parsed(
        text=text,
        title=described(title=title).get("title", ""),
        headings=spans(headings, len(text)),
        metadata=described(**values),
    )


def _headings(text: str, skip: int) -> list[Heading]:
    """Headings past the first `skip` characters: front matter would read as a heading, underlined by its end."""
    reader = MarkdownIt("commonmark")
    reader.core.ruler.enableOnly(["normalize", "block"])  # inline text is read for headings alone
    body = text[skip:]
    starts = list(accumulate((len(line) + 1 for line in body.split("\n")), initial=skip))
    tokens = reader.parse(body)
    found = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            level = int(opening.tag[1:])
            found.append(Heading(start=starts[opening.map[0]], level=level, title=_plain(inline.content)))
    return found


def _plain(source: str) -> str:
    """A heading's words without emphasis, links and code marks."""
    found: list[str] = []
    for token in MarkdownIt("commonmark").parseInline(source)[0].children or []:
        found.append(" " if token.type in ("softbreak", "hardbreak") else token.content)
    return "".join(found)
