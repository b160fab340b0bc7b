"""What reading a PDF needs of a library; `pdf_pypdf` and `pdf_pdfium` are the two."""

from __future__ import annotations

from typing import Protocol


class Locked(Exception):
    """A password is needed, and the empty one is not it."""


class TooMuch(Exception):
    """A stream unpacks beyond what the library allows: the other library must not try."""


class Reader(Protocol):
    """One file, opened. Pages count from 1."""

    name: str
    pages: int

    def text(self, number: int) -> str:
        """The page's text. Raises anything for a page that it cannot read, `TooMuch` for an archive bomb."""
        ...

    def facts(self) -> dict[str, str]:
        """What the file says of itself; nothing, if that part is damaged."""
        ...
