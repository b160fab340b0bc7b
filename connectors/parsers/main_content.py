"""Which part of a whole web page is its content. The one door to trafilatura.

The library only points: what it extracted shows which element holds the content, and that element is then read by
our own walker, whole, with its tables, code and headings. So what the library drops inside an article is not lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.connectors.parsers.patience import OutOfPatience, at_most
from penstock.connectors.parsers.tree import walk

_SECONDS = 5.0  # of processor time, for the library: an ordinary page takes a fiftieth
_MOST_CHARACTERS = 2_000_000  # of markup; beyond, the whole page is kept unseen
_FEWEST_WORDS = 25  # a shorter content is no finding
_SHARE = 0.95  # of what the library found has to lie within the element
_LOSS = 0.4  # of the words outside links and navigation: more than that is no boilerplate
_SHINGLE = 3
_WORD = re.compile(r"\w+")
_AROUND = {"nav", "footer", "aside", "header", "form", "dialog"}
_SILENT = {"script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "select", "nav"}


class Content(msgspec.Struct, frozen=True):
    """The elements to read, in order, and how many words of the page lie outside of them."""

    roots: tuple[Any, ...]
    left_out: int


class _Weight:
    """What lies within an element: words that the library found, words of plain text, all words."""

    __slots__ = ("all", "found", "plain")

    def __init__(self) -> None:
        self.found = self.plain = self.all = 0

    def add(self, other: _Weight) -> None:
        self.found += other.found
        self.plain += other.plain
        self.all += other.all


def main_content(root: Any, markup: str) -> Content | None:
    """The content of the page `root`, parsed from `markup`; None if all of it has to be kept.

    Where the author marked one element as the main one, that is it, and the library is not asked. None also when the
    library fails, takes too long, finds next to nothing, or when more would be left out than navigation, banners and
    the like account for.
    """
    body = root.find("body") if root.tag == "html" else root
    if body is None:
        return None
    marked = [element for element in body.iter("*") if _is_main(element)]
    if len(marked) == 1 and (content := _content(body, marked[0], _weights(body, set()))):
        return content
    if len(markup) > _MOST_CHARACTERS or not (found := _shingles(_words(_extracted(markup)))):
        return None
    weights = _weights(body, found)
    return _content(body, _author_s_own(_smallest(body, weights), body), weights)


def _content(body: Any, chosen: Any, weights: dict[Any, _Weight]) -> Content | None:
    page, kept = weights[body], weights.get(chosen)
    if chosen is body or kept is None or kept.all < _FEWEST_WORDS or page.plain - kept.plain > _LOSS * page.plain:
        return None
    return Content(roots=(*_titles_before(body, chosen), chosen), left_out=page.all - kept.all)


def _is_main(element: Any) -> bool:
    return bool(element.tag == "main" or element.get("role") == "main")


def _extracted(markup: str) -> str:
    from trafilatura import bare_extraction  # a second of importing, and only pages need it

    try:
        with at_most(_SECONDS):
            found = bare_extraction(markup, include_comments=False, favor_recall=True, fast=True, with_metadata=False)
    except (OutOfPatience, Exception):  # pages are hostile; without it the whole page is kept
        return ""
    return "" if found is None or found.body is None else " ".join(found.body.itertext())


def _weights(body: Any, found: set[tuple[str, ...]]) -> dict[Any, _Weight]:
    """For each element, what lies within it."""
    weights: dict[Any, _Weight] = {}
    links = around = 0
    for starts, tag, element in walk(body, _SILENT.__contains__):
        links += (tag == "a") * (1 if starts else -1)
        around += (tag in _AROUND and tag not in _SILENT) * (1 if starts else -1)
        if starts:
            weights[element] = _Weight()
            _count(weights[element], element.text, found, plain=not (links or around))
            continue
        if element is body:
            break
        parent = weights[element.getparent()]
        if element in weights:
            parent.add(weights[element])
        _count(parent, element.tail, found, plain=not (links or around))
    return weights


def _count(weight: _Weight, text: str | None, found: set[tuple[str, ...]], *, plain: bool) -> None:
    if text and (words := _words(text)):
        weight.all += len(words)
        weight.plain += len(words) * plain
        weight.found += sum(shingle in found for shingle in _each_shingle(words))


def _smallest(body: Any, weights: dict[Any, _Weight]) -> Any:
    """The innermost element that holds nearly all of what was found."""
    enough = _SHARE * weights[body].found
    chosen, inner = body, body
    while inner is not None:
        chosen = inner
        inner = next((child for child in chosen if child in weights and weights[child].found >= enough > 0), None)
    return chosen


def _author_s_own(chosen: Any, body: Any) -> Any:
    """What the author calls the content, if the choice lies in it: it is wider, and so loses less."""
    widest, at = chosen, chosen
    while at is not None and at is not body:
        if at.tag == "article" or _is_main(at):
            widest = at
        at = at.getparent()
    return widest


def _titles_before(body: Any, chosen: Any) -> Iterator[Any]:
    """Headings of the first level that stand before the content: often its title, in the page's own header."""
    within = 0
    for starts, tag, element in walk(body, _SILENT.__contains__):
        if element is chosen:
            return
        if tag == "h1":
            within += 1 if starts else -1
            if starts and within == 1 and not any(each is element for each in chosen.iterancestors()):
                yield element


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _each_shingle(words: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1))


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return set(_each_shingle(words))
