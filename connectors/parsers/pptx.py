"""PowerPoint files by python-pptx, its one door: each slide a page, under its title."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from pptx import Presentation as _  # noqa: F401 - registers the parts of a package by their content types
from pptx.oxml import parse_xml
from pptx.oxml.ns import qn
from pptx.package import Package

from penstock.connectors.parsers.archive import check_office
from penstock.connectors.parsers.flow import Flow
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described
from penstock.connectors.parsers.sections import Sections
from penstock.connectors.parsers.tree import walk

_P, _T, _BR, _TAB = qn("a:p"), qn("a:t"), qn("a:br"), qn("a:tab")
_TBL, _TR, _TC = qn("a:tbl"), qn("a:tr"), qn("a:tc")
_GROUP, _FRAME, _OFF, _PH = qn("p:grpSp"), qn("p:graphicFrame"), qn("a:off"), qn("p:ph")
_CHART = qn("c:chart")
_MARKUP = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_UNSEEN = {_MARKUP + "Fallback", qn("p:nvGrpSpPr"), qn("p:grpSpPr"), qn("a:tabLst")}
_FURNITURE = ("sldNum", "dt", "ftr", "hdr", "sldImg")
_TITLES = ("title", "ctrTitle")
_BANDS = 40  # shapes whose tops differ by less than a band of the slide stand side by side


def parse(data: bytes, name: str) -> Parsed:
    """Titles as headings, then texts, tables, diagrams and the words of charts from top to bottom, then notes.

    Hidden slides are read too; a slide that cannot be read costs itself alone. `metadata`: `slides`,
    `hidden_slides`, `slides_failed`. Raises `Unparsable`: as `check_office`; `damaged` when no slide can be read,
    `no_text`, `too_large`.
    """
    check_office(data, name)
    package = Package.open(io.BytesIO(data))
    show = package.main_document_part.presentation
    slides = _Slides(int(show.slide_height or 0) or 6_858_000)
    for number, entry in enumerate(show.slides._sldIdLst, 1):
        slides.read(number, show.part, entry.rId)
    if slides.count and len(slides.failed) == slides.count:
        raise Unparsable("damaged", f"no slide of {name} can be read: {slides.cause}")
    facts = _facts(package)
    title = facts.pop("title", "")
    facts |= described(
        slides=slides.count,
        hidden_slides=", ".join(map(str, slides.hidden)),
        slides_failed=", ".join(map(str, slides.failed)),
    )
    parsed = slides.out.parsed(title=title, metadata=facts)
    if slides.count and not parsed.text:
        raise Unparsable("no_text", f"the slides of {name} hold no text")
    return parsed


def _facts(package: Any) -> dict[str, str]:
    """What the file states of itself; python-pptx would make it up where the part is missing."""
    if not any(each.reltype.endswith("/core-properties") for each in package._rels.values()):
        return {}
    core = package.core_properties
    return described(title=core.title, author=core.author, subject=core.subject, keywords=core.keywords)


class _Slides:
    def __init__(self, height: int) -> None:
        self.out = Sections()
        self.count = 0
        self.hidden: list[int] = []
        self.failed: list[int] = []
        self.cause = ""
        self._band = max(1, height // _BANDS)

    def read(self, number: int, show: Any, relation: str) -> None:
        """Slide `number`, all or nothing: it is read before any of it is written."""
        self.count += 1
        try:
            slide = show.related_slide(relation)
            title, texts = self._texts(slide)
            notes = _notes(slide)
        except MemoryError:
            raise
        except Exception as error:  # whatever a hostile slide makes the libraries raise
            self.failed.append(number)
            self.cause = self.cause or f"{type(error).__name__}: {error}"
            return
        if slide._element.get("show") in ("0", "false"):
            self.hidden.append(number)
        self.out.leave(1)
        self.out.page(number)
        if title:
            self.out.heading(1, title)
        for text in texts:
            self.out.paragraph(text)
        if notes:
            self.out.paragraph(f"Notes: {notes}")

    def _texts(self, slide: Any) -> tuple[str, list[str]]:
        """The title, and the other texts in order."""
        inherited = {shape._element: shape for shape in slide.placeholders}
        title, texts = "", []
        for shape in self._ordered(slide.shapes._spTree, inherited):
            role = _role(shape)
            if role in _FURNITURE:
                continue
            text = _text(shape) or _linked(shape, slide.part)
            if role in _TITLES and not title:
                title = " ".join(text.split())
            elif text:
                texts.append(text)
        return title, texts

    def _ordered(self, tree: Any, inherited: dict[Any, Any]) -> Iterator[Any]:
        """Shapes from top to bottom and left to right, those of a group together; one without a place stays put."""
        placed = []
        top, left = 0, 0
        for at, shape in enumerate(tree):
            top, left = _place(shape, inherited.get(shape)) or (top, left)
            placed.append(((top // self._band, left, at), shape))
        for _key, shape in sorted(placed, key=lambda each: each[0]):
            if shape.tag == _GROUP:
                yield from self._ordered(shape, inherited)
            elif shape.tag not in _UNSEEN:
                yield shape


def _place(shape: Any, placeholder: Any) -> tuple[int, int] | None:
    off = next(shape.iter(_OFF, qn("a:off")), None) if isinstance(shape.tag, str) else None
    if off is not None:
        return int(off.get("y", 0)), int(off.get("x", 0))
    if placeholder is not None and placeholder.top is not None and placeholder.left is not None:
        return int(placeholder.top), int(placeholder.left)  # from the layout, or its master
    return None


def _role(shape: Any) -> str:
    found = next(shape.iter(_PH), None) if isinstance(shape.tag, str) else None
    return "" if found is None else str(found.get("type", "body"))


def _text(root: Any) -> str:
    """Paragraphs as lines, cells of a table set off by tabs."""
    flow, tables = Flow(), 0
    for starts, tag, element in walk(root, _UNSEEN.__contains__):
        if tag == _TBL:
            tables += 1 if starts else -1
        if tag in (_TR, _P) and not (starts and tag == _P and tables):
            flow.block(1)
        elif tag == _TC and not starts:
            flow.cell()
        elif starts and tag == _T:
            flow.verbatim(element.text or "")
        elif starts and tag in (_BR, _TAB):
            flow.verbatim("\n" if tag == _BR else "\t")
    return flow.text().strip("\n")


def _linked(frame: Any, part: Any) -> str:
    """The words of a diagram or a chart, which lie in parts of their own. Nothing outside the file is followed."""
    if frame.tag != _FRAME:
        return ""
    for element in frame.iter(_DIAGRAM, _CHART):
        relation = part.rels.get(element.get(qn("r:dm")) or element.get(qn("r:id")) or "")
        if relation is None or relation.is_external:
            continue
        root = parse_xml(relation.target_part.blob)
        return _text(root) if element.tag == _DIAGRAM else _chart(root)
    return ""


def _chart(root: Any) -> str:
    """Title and axis titles, the names of series and categories."""
    words = [_text(root)]
    names = (value for tag in ("c:tx", "c:cat") for each in root.iter(qn(tag)) for value in each.iter(qn("c:v")))
    words += dict.fromkeys(str(value.text or "").strip() for value in names)
    return "\n".join(word for word in words if word)


def _notes(slide: Any) -> str:
    if not slide.has_notes_slide:
        return ""
    shapes = slide.notes_slide.shapes._spTree
    return "\n".join(text for shape in shapes if _role(shape) == "body" and (text := _text(shape)))
