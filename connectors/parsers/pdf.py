"""PDF: text and page spans, by two libraries that fail on different files (docs/decisions/0011).

pypdf reads files of up to 50 pages: it keeps right-to-left text in order. pdfium reads longer ones, sixteen times as
fast. A page that one cannot read, or finds empty, is left to the other.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, tidy
from penstock.connectors.parsers.patience import OutOfPatience, at_most
from penstock.connectors.parsers.pdf_pdfium import Pdfium
from penstock.connectors.parsers.pdf_pypdf import Pypdf
from penstock.connectors.parsers.pdf_reader import Locked, Reader, TooMuch
from penstock.connectors.types import PageSpan

_T = TypeVar("_T")
_PYPDF_PAGES = 50
_PYPDF_SECONDS = 15.0  # of processor time for a file; then pdfium reads on
_BETWEEN = "\n\n"
# Ligatures, and Arabic and Hebrew letters drawn in the form that their place asks for: nobody searches for those.
_DRAWN = {code: unicodedata.normalize("NFKC", chr(code)) for code in (*range(0xFB00, 0xFE00), *range(0xFE70, 0xFEFD))}
_GARBAGE = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def parse(data: bytes, name: str) -> Parsed:
    """Each page's text in page order; a span covers exactly its page's text, and an empty page has none.

    A page that neither library can read costs itself alone: `metadata["pages_failed"]` names it. Raises
    `Unparsable`: `encrypted` when a password is needed, `no_text` when neither finds any, `too_large` for streams
    that unpack beyond all measure, `damaged` when no page can be read.
    """
    reading = _Reading(data)
    if not reading.readers:
        said = "needs a password" if isinstance(reading.cause, Locked) else f"cannot be opened: {reading.why()}"
        raise Unparsable(reading.reason(), f"{name} {said}")
    if not reading.pages:
        raise Unparsable("damaged", f"{name} has no pages")
    texts = reading.texts()
    if not texts:
        raise Unparsable(reading.reason(), f"no page of {name} can be read: {reading.why()}")
    text, spans = _joined(texts)
    if not text:
        failed = f"; {len(reading.failed)} of its pages cannot be read ({reading.why()})" if reading.failed else ""
        raise Unparsable("no_text", f"the pages of {name} hold no text{failed}")
    facts = reading.facts()
    title = facts.pop("title", "")
    used = " and ".join(sorted(reading.used))
    facts |= described(pages=reading.pages, pages_failed=_ranges(reading.failed), extracted_by=used)
    return Parsed(text=text, title=title, pages=spans, metadata=facts)


class _Reading:
    """One file, with both libraries as far as each can open it; `readers` has the one to ask first in front."""

    def __init__(self, data: bytes) -> None:
        self.cause: BaseException | None = None
        self.failed: list[int] = []
        self.used: set[str] = set()
        self._left = _PYPDF_SECONDS
        self._pypdf = self._tried(lambda: self._patiently(lambda: Pypdf(data)))
        self._pdfium = None if isinstance(self.cause, TooMuch) else self._tried(lambda: Pdfium(data))
        found: list[Reader] = [reader for reader in (self._pypdf, self._pdfium) if reader is not None]
        self.pages = max((reader.pages for reader in found), default=0)
        self.readers = found[::-1] if self.pages > _PYPDF_PAGES else found

    def texts(self) -> dict[int, str]:
        """Texts by page number; those that fail are in `failed`."""
        texts: dict[int, str] = {}
        for number in range(1, self.pages + 1):
            text = self._page(number)
            if text is None:
                self.failed.append(number)
            else:
                texts[number] = "\n".join([text, *self._written(number, text)]).strip()
        return texts

    def facts(self) -> dict[str, str]:
        return next((facts for reader in (self._pypdf, self._pdfium) if reader and (facts := reader.facts())), {})

    def reason(self) -> str:
        """The word for a file of which nothing can be read."""
        if isinstance(self.cause, Locked):
            return "encrypted"
        return "too_large" if isinstance(self.cause, TooMuch) else "damaged"

    def why(self) -> str:
        """The first thing that went wrong."""
        return f"{type(self.cause).__name__}: {' '.join(str(self.cause).split())}"[:300]

    def _page(self, number: int) -> str | None:
        """The first text that is found; from pdfium only second where it runs from right to left."""
        best: tuple[str, str] | None = None
        for reader in self.readers:
            text = self._text(reader, number)
            if text is None:
                if isinstance(self.cause, TooMuch):
                    return None
                continue
            if best is None or (text and not best[1]) or (text and reader is self._pypdf):
                best = (reader.name, text)
            if text and not (reader is self._pdfium and _RIGHT_TO_LEFT.search(text)):
                break
        if best is None:
            return None
        self.used |= {best[0]} if best[1] else set()
        return best[1]

    def _text(self, reader: Reader, number: int) -> str | None:
        if number > reader.pages:
            return None
        slow = reader is self._pypdf
        found = self._tried(lambda: self._patiently(lambda: reader.text(number)) if slow else reader.text(number))
        return None if found is None else _clean(found)

    def _written(self, number: int, text: str) -> list[str]:
        pypdf = self._pypdf
        if pypdf is None or number > pypdf.pages or not (pypdf.has_form or self.pages <= _PYPDF_PAGES):
            return []
        said = self._tried(lambda: self._patiently(lambda: pypdf.written(number))) or []
        return [line for each in said if (line := _clean(each)) and line not in text]

    def _patiently(self, act: Callable[[], _T]) -> _T:
        if self._left <= 0:
            raise TimeoutError(f"pypdf took longer than {_PYPDF_SECONDS:g} s")
        began = time.process_time()
        try:
            with at_most(self._left):
                return act()
        finally:
            self._left -= time.process_time() - began

    def _tried(self, act: Callable[[], _T]) -> _T | None:
        try:
            return act()
        except MemoryError:
            raise
        except (OutOfPatience, Exception) as error:  # whatever a hostile file makes the library raise
            if self.cause is None or isinstance(error, Locked | TooMuch):
                self.cause = error
        return None


def _clean(text: str) -> str:
    return _GARBAGE.sub("", tidy(text)).translate(_DRAWN).strip()


def _joined(texts: dict[int, str]) -> tuple[str, tuple[PageSpan, ...]]:
    spans = []
    at = 0
    kept = {number: text for number, text in texts.items() if text}
    for number, text in kept.items():
        spans.append(PageSpan(start=at, end=at + len(text), page=number))
        at += len(text) + len(_BETWEEN)
    return _BETWEEN.join(kept.values()), tuple(spans)


def _ranges(numbers: list[int]) -> str:
    return ",".join(map(str, numbers[:50])) + (f" and {len(numbers) - 50} more" if len(numbers) > 50 else "")
