"""Word files by python-docx, its one door: paragraphs and tables in document order, headings by style."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from docx.opc.part import PartFactory
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml
from docx.package import Package
from docx.parts.document import DocumentPart

from penstock.connectors.parsers.archive import check_office
from penstock.connectors.parsers.flow import Flow
from penstock.connectors.parsers.outline import Heading, spans
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described
from penstock.connectors.parsers.tree import walk

# Templates and files with macros are documents like any other; python-docx knows them by no content type.
for _type in (
    "application/vnd.ms-word.document.macroEnabled.main+xml",
    "application/vnd.ms-word.template.macroEnabledTemplate.main+xml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
):
    PartFactory.part_type_for.setdefault(_type, DocumentPart)

_P, _T, _PSTYLE, _OUTLINE = qn("w:p"), qn("w:t"), qn("w:pStyle"), qn("w:outlineLvl")
_VAL, _TC, _TR, _TBL = qn("w:val"), qn("w:tc"), qn("w:tr"), qn("w:tbl")
_BREAKS = {qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:tab"): "\t", qn("w:noBreakHyphen"): "-"}
_MARKUP = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# Deleted text; the old-reader copy of a drawing's text; tab stops, which are settings and no tabs.
_UNSEEN = {qn("w:del"), qn("w:moveFrom"), _MARKUP + "Fallback", qn("w:tabs")}
_OUTSIDE = ("/header", "/footer", "/footnotes", "/endnotes", "/comments")
_HEADING = re.compile(r"heading\s+([1-9])", re.IGNORECASE)


def parse(data: bytes, name: str) -> Parsed:
    """Body text with that of tables, text boxes and content controls; then what stands outside of it, each once:
    headers and footers, footnotes and endnotes, comments. Only the body has headings.

    Raises `Unparsable`: as `check_office`, and `no_text` for pictures alone.
    """
    check_office(data, name)
    document = Package.open(io.BytesIO(data)).main_document_part.document
    story = _Story(_levels(document))
    story.read(document.element.body)
    body = len(story.flow.text())
    for outside in _outside(document, {story.flow.text()}):
        story.flow.block(2)
        story.flow.verbatim(outside)
    text = story.flow.text()
    if not text.strip() and any(each.reltype.endswith("/image") for each in document.part.rels.values()):
        raise Unparsable("no_text", f"{name} holds pictures and no text")
    facts = _facts(document)
    title = facts.pop("title", "") or next((each.title for each in story.headings if each.title), "")
    return Parsed(text=text, title=title, headings=spans(story.headings, body), metadata=facts)


def _levels(document: Any) -> dict[str, int]:
    """Heading level by style id: Title is 0, "heading 1" is 1. Names are English inside, in every language."""
    own: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in document.styles.element.iterchildren(qn("w:style")):
        identity = style.get(qn("w:styleId"), "")
        label, parent = style.find(qn("w:name")), style.find(qn("w:basedOn"))
        outline = style.find(f"{qn('w:pPr')}/{_OUTLINE}")
        called = "" if label is None else str(label.get(_VAL, ""))
        if match := _HEADING.fullmatch(called.strip()):
            own[identity] = int(match.group(1))
        elif called.lower() == "title":
            own[identity] = 0
        elif outline is not None and (level := _outline(outline)) is not None:
            own[identity] = level
        if parent is not None:
            based[identity] = parent.get(_VAL, "")
    return {identity: level for identity in {*own, *based} if (level := _inherited(identity, own, based)) is not None}


def _inherited(identity: str, own: dict[str, int], based: dict[str, str]) -> int | None:
    for _ in range(10):  # a chain of styles may be a circle
        if identity in own:
            return own[identity]
        identity = based.get(identity, "")
    return None


def _outline(element: Any) -> int | None:
    value = element.get(_VAL, "")
    return int(value) + 1 if value.isdigit() and int(value) < 9 else None


def _outside(document: Any, said: set[str]) -> Iterator[str]:
    """The texts of parts beside the body. Each section may name the same header again."""
    relations = [each for each in document.part.rels.values() if not each.is_external]
    for kind in _OUTSIDE:
        for relation in relations:
            if relation.reltype.endswith(kind):
                story = _Story({})
                story.read(parse_xml(relation.target_part.blob))
                text = story.flow.text().strip()
                if text and text not in said:
                    said.add(text)
                    yield text


def _facts(document: Any) -> dict[str, str]:
    """Title and author as the file states them; python-docx would make them up where the part is missing."""
    if not any(each.reltype.endswith("/core-properties") for each in document.part.package.rels.values()):
        return {}
    core = document.core_properties
    return described(title=core.title, author=core.author, subject=core.subject, keywords=core.keywords)


class _Story:
    """Walks one story of the document without recursion; text boxes and tables may nest as they like."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.flow = Flow()
        self.headings: list[Heading] = []
        self._levels = levels
        self._tables = 0
        self._open: tuple[int, int, list[str]] | None = None

    def read(self, root: Any) -> None:
        for starts, tag, element in walk(root, _UNSEEN.__contains__):
            if starts:
                self._enter(tag, element)
            elif tag not in _UNSEEN:
                self._leave(tag)

    def _enter(self, tag: str, element: Any) -> None:
        if tag == _P:
            self._paragraph(element)
        elif tag == _T:
            self._say(element.text or "")
        elif tag in _BREAKS:
            self._say(_BREAKS[tag])
        elif tag == _TBL:
            self._tables += 1
            self.flow.block(2 if self._tables == 1 else 1)
        elif tag == _TR:
            self.flow.block(1)

    def _leave(self, tag: str) -> None:
        if tag == _P:
            self._close_heading()
            self.flow.block(1 if self._tables else 2)
        elif tag == _TC:
            self.flow.cell()
        elif tag == _TBL:
            self._tables -= 1
            self.flow.block(1 if self._tables else 2)

    def _paragraph(self, element: Any) -> None:
        self._close_heading()
        if not self._tables:
            self.flow.block(2)
        style = element.find(f"{qn('w:pPr')}/{_PSTYLE}")
        outline = element.find(f"{qn('w:pPr')}/{_OUTLINE}")
        level = self._levels.get(style.get(_VAL, "")) if style is not None else None
        if outline is not None:
            level = _outline(outline)
        if level is not None and not self._tables:
            self._open = (self.flow.settle(), level, [])

    def _close_heading(self) -> None:
        if self._open:
            start, level, words = self._open
            self.headings.append(Heading(start=start, level=level, title="".join(words)))
            self._open = None

    def _say(self, text: str) -> None:
        if self._open:
            self._open[2].append(text)
        self.flow.verbatim(text)
