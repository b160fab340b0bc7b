"""HTML: visible text, blocks on lines of their own, headings h1 to h6."""

from __future__ import annotations

import re
from typing import Any

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.flow import Flow
from penstock.connectors.parsers.main_content import main_content
from penstock.connectors.parsers.outline import Heading, spans
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, tidy
from penstock.connectors.parsers.tree import html_tree, walk

_DECLARED = re.compile(
    rb"""<meta[^>]+charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]+)|<\?xml[^>]+encoding=["']([^"']+)""", re.IGNORECASE
)
_WHOLE_PAGE = re.compile(r"<(?:!doctype\s+html|html|body)\b", re.IGNORECASE)
_HEAD = 4096
_UNSEEN = {
    "script",
    "style",
    "nav",
    "template",
    "noscript",
    "head",
    "svg",
    "math",
    "iframe",
    "object",
    "select",
}
_PARAGRAPHS = {
    "address", "article", "aside", "blockquote", "body", "details", "dl", "fieldset", "figure", "footer", "form",
    "header", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "main", "ol", "p", "pre", "section", "table", "ul",
}  # fmt: skip
_LINES = {"br", "caption", "dd", "div", "dt", "figcaption", "legend", "li", "option", "summary", "tr"}
_LEVELS = {f"h{level}": level for level in range(1, 7)}


def parse(data: bytes, name: str) -> Parsed:
    """Text as a reader sees it, less scripts and, of a whole page, less what is around its content.

    Nothing is loaded from anywhere. `metadata["left_out"]` counts the words of navigation, banners and the like.
    """
    found = _DECLARED.search(data[:2048])
    declared = (found.group(1) or found.group(2)).decode("ascii", "ignore") if found else ""
    decoded = decode(data, declared)
    if decoded is None:
        raise Unparsable("unsupported", f"{name} holds no text in an encoding that can be recognised")
    return read_markup(decoded.text, name, pruned=_WHOLE_PAGE.search(decoded.text[:_HEAD]) is not None)


def read_markup(markup: str, name: str, *, pruned: bool) -> Parsed:
    """As `parse`. `pruned=False` keeps all that is visible: for a body out of a mail or an API, which is content
    from its first word."""
    markup = tidy(markup)
    root = html_tree(markup)
    if root is None:
        raise Unparsable("empty", f"{name} holds no element")
    content = main_content(root, markup) if pruned else None
    page = _Page()
    for each in (root,) if content is None else content.roots:
        page.read(each)
    text = page.flow.text()
    title = described(title=root.findtext(".//title") or "").get("title", "")
    return Parsed(
        text=text,
        title=title or next((each.title for each in page.headings), ""),
        headings=spans(sorted(page.headings, key=lambda each: each.start), len(text)),  # one may stand in another
        metadata=described(
            author=_meta(root, "author"),
            description=_meta(root, "description"),
            left_out=f"{content.left_out} words" if content and content.left_out else None,
        ),
    )


def _meta(root: Any, name: str) -> str:
    for each in root.iterfind(".//meta"):
        if str(each.get("name", "")).lower() == name:
            return str(each.get("content", ""))
    return ""


class _Page:
    """Walks the tree without recursion: depth is the document's choice, the stack is ours."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.headings: list[Heading] = []
        self._kept = 0
        self._open: list[tuple[int, int, list[str]]] = []

    def read(self, root: Any) -> None:
        for starts, tag, element in walk(root, _UNSEEN.__contains__):
            if starts:
                self._enter(tag)
                self._say(element.text)
            else:
                if tag not in _UNSEEN:
                    self._leave(tag)
                if element is not root:
                    self._say(element.tail)

    def _enter(self, tag: str) -> None:
        self._break(tag)
        self._kept += tag in ("pre", "textarea")
        if tag in _LEVELS:
            self._open.append((self.flow.settle(), _LEVELS[tag], []))

    def _leave(self, tag: str) -> None:
        self._kept -= tag in ("pre", "textarea")
        if tag in _LEVELS and self._open:
            start, level, words = self._open.pop()
            self.headings.append(Heading(start=start, level=level, title="".join(words)))
        if tag in ("td", "th"):
            self.flow.cell()
        else:
            self._break(tag)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self.flow.block(2)
        elif tag in _LINES:
            self.flow.block(1)

    def _say(self, text: str | None) -> None:
        if not text:
            return
        if self._open:
            self._open[-1][2].append(text)
        if self._kept:
            self.flow.verbatim(text)
        else:
            self.flow.words(text)
