"""PDF by pypdf, its one door: text and page spans."""

from __future__ import annotations

import io
import unicodedata

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, tidy
from penstock.connectors.types import PageSpan

_BETWEEN = "\n\n"
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}


def parse(data: bytes, name: str) -> Parsed:
    """Each page's text in page order; a span covers exactly its page's text, and an empty page has none.

    A page that cannot be read costs itself alone: `metadata["pages_failed"]` names it. Raises `Unparsable`:
    `encrypted` when a password is needed, `no_text`, `damaged` when no page can be read.
    """
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unparsable("encrypted", f"{name} needs a password")
    texts, failed, cause = _pages(reader)
    if not texts and failed:
        raise Unparsable("damaged", f"no page of {name} can be read: {cause}")
    if not texts:
        raise Unparsable("damaged", f"{name} has no pages")
    text, spans = _joined(texts)
    if not text:
        detail = f"; {len(failed)} of its pages cannot be read ({cause})" if failed else ""
        raise Unparsable("no_text", f"the pages of {name} hold no text{detail}")
    facts = _facts(reader)
    title = facts.pop("title", "")
    facts |= described(pages=len(texts) + len(failed), pages_failed=_ranges(failed))
    return Parsed(text=text, title=title, pages=spans, metadata=facts)


def _pages(reader: PdfReader) -> tuple[dict[int, str], list[int], str]:
    """Texts by page number from 1, the numbers that failed, and why the first of them did."""
    texts: dict[int, str] = {}
    failed: list[int] = []
    cause = ""
    for number in range(1, len(reader.pages) + 1):
        try:
            texts[number] = _page_text(reader, number)
        except MemoryError:
            raise
        except Exception as error:  # whatever a hostile page makes the library raise
            failed.append(number)
            cause = cause or f"{type(error).__name__}: {error}"
    return texts, failed, cause


def _page_text(reader: PdfReader, number: int) -> str:
    text = tidy(reader.pages[number - 1].extract_text())
    return text.translate(_LIGATURES).strip()


def _joined(texts: dict[int, str]) -> tuple[str, tuple[PageSpan, ...]]:
    spans = []
    at = 0
    kept = {number: text for number, text in texts.items() if text}
    for number, text in kept.items():
        spans.append(PageSpan(start=at, end=at + len(text), page=number))
        at += len(text) + len(_BETWEEN)
    return _BETWEEN.join(kept.values()), tuple(spans)


def _facts(reader: PdfReader) -> dict[str, str]:
    """What the file says of itself; nothing, if that part is damaged."""
    try:
        facts = reader.metadata
        if facts is None:
            return {}
        return described(title=facts.title, author=facts.author, subject=facts.subject)
    except (PyPdfError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}


def _ranges(numbers: list[int]) -> str:
    return ",".join(map(str, numbers[:50])) + (f" and {len(numbers) - 50} more" if len(numbers) > 50 else "")
