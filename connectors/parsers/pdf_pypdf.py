"""The one door to pypdf: pages, with what was filled into their forms."""

from __future__ import annotations

import io
from typing import Any

from pypdf import PdfReader
from pypdf.errors import LimitReachedError, PyPdfError

from penstock.connectors.parsers.parsed import described
from penstock.connectors.parsers.pdf_reader import Locked, TooMuch

_PASSWORD_FIELD = 1 << 13
_DAMAGE = (PyPdfError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError)


class Pypdf:
    """Opens the file. Raises `Locked`, `TooMuch`, and anything for a file that it cannot read."""

    name = "pypdf"

    def __init__(self, data: bytes) -> None:
        try:
            self._reader = PdfReader(io.BytesIO(data), strict=False)
            if self._reader.is_encrypted and not self._reader.decrypt(""):
                raise Locked
            self.pages = len(self._reader.pages)
            self.has_form = "/AcroForm" in self._reader.root_object
        except LimitReachedError as error:
            raise TooMuch(str(error)) from error

    def text(self, number: int) -> str:
        try:
            return self._reader.pages[number - 1].extract_text()
        except LimitReachedError as error:
            raise TooMuch(str(error)) from error

    def written(self, number: int) -> list[str]:
        """What people wrote on the page: values of text and choice fields, and text boxes. Not comments, not passwords.

        Empty where that part is damaged.
        """
        try:
            page = self._reader.pages[number - 1]
            said = [_said(each.get_object()) for each in page.get("/Annots") or ()]
        except _DAMAGE:
            return []
        return [each for each in dict.fromkeys(said) if each]

    def facts(self) -> dict[str, str]:
        try:
            facts = self._reader.metadata
            if facts is None:
                return {}
            return described(title=facts.title, author=facts.author, subject=facts.subject)
        except _DAMAGE:
            return {}


def _said(annotation: Any) -> str:
    match annotation.get("/Subtype"):
        case "/FreeText":
            return _plain(annotation.get("/Contents"))
        case "/Widget" if not int(_inherited(annotation, "/Ff") or 0) & _PASSWORD_FIELD:
            if _inherited(annotation, "/FT") in ("/Tx", "/Ch"):
                return _plain(_inherited(annotation, "/V"))
    return ""


def _inherited(field: Any, key: str) -> Any:
    """A field's own value or its parent's; a chain of parents may be a circle."""
    for _ in range(10):
        if field is None or (value := field.get(key)) is not None:
            break
        parent = field.get("/Parent")
        field = None if parent is None else parent.get_object()
    else:
        return None
    return None if field is None else value.get_object()


def _plain(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return "\n".join(str(each).strip() for each in values if isinstance(each, str))
