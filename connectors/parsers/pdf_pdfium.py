"""The one door to pypdfium2. It runs native code: only ever in a process that may die of it."""

from __future__ import annotations

import pypdfium2

from penstock.connectors.parsers.parsed import described
from penstock.connectors.parsers.pdf_reader import Locked

_PASSWORD = 4  # FPDF_ERR_PASSWORD


class Pdfium:
    """Opens the file. Raises `Locked`, and anything for a file that it cannot read."""

    name = "pdfium"

    def __init__(self, data: bytes) -> None:
        try:
            self._document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _PASSWORD:
                raise Locked from error
            raise
        self.pages = len(self._document)

    def text(self, number: int) -> str:
        page = self._document[number - 1]
        try:
            text = page.get_textpage()
            try:
                # U+0002 stands where a word was broken at the end of a line, in place of the hyphen and the break.
                return str(text.get_text_bounded()).replace("\x02", "")
            finally:
                text.close()
        finally:
            page.close()  # or all pages of a long file would be held at once

    def facts(self) -> dict[str, str]:
        found = self._document.get_metadata_dict(skip_empty=True)
        return described(title=found.get("Title"), author=found.get("Author"), subject=found.get("Subject"))
