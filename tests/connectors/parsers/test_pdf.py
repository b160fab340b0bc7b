"""PDF by two libraries: each page's text from the one that can read it, and one reason where neither can."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import pytest
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.annotations import FreeText
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    StreamObject,
    TextStringObject,
)

from penstock.connectors.parsers import pdf
from penstock.connectors.parsers.parsed import Unparsable
from penstock.connectors.parsers.pdf_pdfium import Pdfium
from penstock.connectors.parsers.pdf_pypdf import Pypdf
from tests.connectors import samples

THREE = samples.pdf("first page", "second page", "third page")
LONG = samples.pdf(*(f"page number {at}" for at in range(1, 61)))


def changed(data: bytes, change: Callable[[PdfWriter], None]) -> bytes:
    """The file after `change`, written by pypdf."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(Unparsable) as error:
        pdf.parse(data, "a.pdf")
    return error.value.reason


def breaks(monkeypatch: pytest.MonkeyPatch, library: type[Pypdf] | type[Pdfium], *numbers: int) -> None:
    """These pages can no longer be read by this library."""
    real = library.text

    def text(self: object, number: int) -> str:
        if number in numbers:
            raise IndexError("no such glyph")
        return real(self, number)  # type: ignore[arg-type]

    monkeypatch.setattr(library, "text", text)


def test_a_page_span_covers_exactly_its_pages_text() -> None:
    """Pages count from 1; a page without text has no span."""
    parsed = pdf.parse(samples.pdf("first page", "", "third page", title="A title"), "a.pdf")
    assert [(span.page, parsed.text[span.start : span.end]) for span in parsed.pages] == [
        (1, "first page"),
        (3, "third page"),
    ]
    assert (parsed.title, parsed.metadata["author"], parsed.metadata["pages"]) == ("A title", "A. Writer", "3")
    assert parsed.metadata["extracted_by"] == "pypdf"


def test_a_long_file_is_read_by_the_faster_library() -> None:
    """The spans are the same whoever reads."""
    parsed = pdf.parse(LONG, "a.pdf")
    assert parsed.metadata["extracted_by"] == "pdfium"
    assert [parsed.text[span.start : span.end] for span in parsed.pages] == [f"page number {at}" for at in range(1, 61)]


def test_an_empty_password_opens_and_any_other_rejects() -> None:
    """Many files are locked against editing alone."""
    assert pdf.parse(samples.encrypted_pdf(""), "a.pdf").text == "a secret line"
    assert refused(samples.encrypted_pdf("password")) == "encrypted"


def test_a_page_that_one_library_cannot_read_comes_from_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of them was asked first."""
    breaks(monkeypatch, Pypdf, 2)
    parsed = pdf.parse(THREE, "a.pdf")
    assert parsed.text == "first page\n\nsecond page\n\nthird page" and "pages_failed" not in parsed.metadata
    assert parsed.metadata["extracted_by"] == "pdfium and pypdf"
    breaks(monkeypatch, Pdfium, 7)
    assert pdf.parse(LONG, "a.pdf").metadata["extracted_by"] == "pdfium and pypdf"


def test_a_page_that_neither_can_read_costs_itself_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are kept, with their numbers; when all fail the file is damaged."""
    breaks(monkeypatch, Pypdf, 2)
    breaks(monkeypatch, Pdfium, 2)
    parsed = pdf.parse(THREE, "a.pdf")
    assert parsed.metadata["pages_failed"] == "2" and parsed.metadata["pages"] == "3"
    assert [span.page for span in parsed.pages] == [1, 3]
    breaks(monkeypatch, Pypdf, 1, 3)
    breaks(monkeypatch, Pdfium, 1, 3)
    assert refused(THREE) == "damaged"


def test_a_page_that_one_library_finds_empty_is_asked_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """`no_text` is said only when both see none."""
    monkeypatch.setattr(PageObject, "extract_text", lambda page: "")
    assert pdf.parse(THREE, "a.pdf").metadata["extracted_by"] == "pdfium"
    monkeypatch.setattr(Pdfium, "text", lambda self, number: " ")
    assert refused(THREE) == "no_text"


def test_a_file_that_pypdf_cannot_open_is_read_by_pdfium() -> None:
    """Here its tree of pages is a circle."""
    parsed = pdf.parse(THREE.replace(b"/Kids [", b"/Kids [2 0 R "), "a.pdf")
    assert parsed.text == "first page\n\nsecond page\n\nthird page" and parsed.metadata["extracted_by"] == "pdfium"


def test_pypdf_is_left_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it read is kept, pdfium reads on; the loop is broken although it never returns."""

    def slow(page: PageObject) -> str:
        while True:
            pass

    monkeypatch.setattr(pdf, "_PYPDF_SECONDS", 0.2)
    monkeypatch.setattr(PageObject, "extract_text", slow)
    assert pdf.parse(THREE, "a.pdf").metadata["extracted_by"] == "pdfium"


def test_right_to_left_pages_are_read_by_pypdf_in_long_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """pdfium gives them in the order they are drawn in."""
    real = Pdfium.text
    monkeypatch.setattr(Pdfium, "text", lambda self, number: "םולש" if number == 3 else real(self, number))
    parsed = pdf.parse(LONG, "a.pdf")
    assert "page number 3\n" in parsed.text and parsed.metadata["extracted_by"] == "pdfium and pypdf"


def test_what_was_written_into_a_form_is_text_and_a_password_is_not() -> None:
    """Values of text fields and text boxes; comments on the page are not part of it."""

    def fill(writer: PdfWriter) -> None:
        page = writer.pages[0]
        fields = ArrayObject()
        for value, flags in (("an answer", 0), ("swordfish", 1 << 13)):
            fields.append(
                writer._add_object(
                    DictionaryObject(
                        {
                            NameObject("/Subtype"): NameObject("/Widget"),
                            NameObject("/FT"): NameObject("/Tx"),
                            NameObject("/V"): TextStringObject(value),
                            NameObject("/Ff"): NumberObject(flags),
                        }
                    )
                )
            )
        page[NameObject("/Annots")] = fields
        writer.root_object[NameObject("/AcroForm")] = DictionaryObject({NameObject("/Fields"): fields})
        writer.add_annotation(0, FreeText(text="a text box", rect=(0, 0, 9, 9)))

    parsed = pdf.parse(changed(THREE, fill), "a.pdf")
    assert parsed.text.startswith("first page\nan answer\na text box\n\nsecond page")
    assert parsed.pages[0].end == len("first page\nan answer\na text box")


def test_a_stream_that_unpacks_beyond_all_measure_is_too_large() -> None:
    """It is not handed to the other library, which would try."""

    def blow(writer: PdfWriter) -> None:
        bomb = StreamObject()
        bomb._data = zlib.compress(bytes(200 << 20), 9)
        bomb[NameObject("/Filter")] = NameObject("/FlateDecode")
        writer.pages[0][NameObject("/Contents")] = writer._add_object(bomb)

    data = changed(samples.pdf("one"), blow)
    assert len(data) < 1 << 20
    assert refused(data) == "too_large"


def test_damage_is_told_as_damage() -> None:
    """The first lines of a file are no file."""
    assert refused(THREE[:60]) == "damaged"
