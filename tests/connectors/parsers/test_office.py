"""Excel and PowerPoint files, and what all office files are refused for before a library opens them."""

from __future__ import annotations

import datetime
import io
import zipfile

import docx
import openpyxl
import pptx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from penstock.connectors.parsers import docx as word
from penstock.connectors.parsers import pptx as slides
from penstock.connectors.parsers import xlsx
from penstock.connectors.parsers.archive import has_document_type
from penstock.connectors.parsers.parsed import Parsed, Unparsable
from tests.connectors import samples

PEOPLE = [["Name", "Born"], ["Ada", 1815], ["Alan", 1912]]
OFFICE = [
    (word, samples.word(("Normal", "x")), "word/document.xml"),
    (xlsx, samples.workbook({"S": PEOPLE}), "xl/worksheets/sheet1.xml"),
    (slides, samples.slides(("T", "x")), "ppt/slides/slide1.xml"),
]


def under(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(span.path, parsed.text[span.start : span.end].strip()) for span in parsed.headings]


# ── Excel ────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_sheet_is_a_page_under_its_name() -> None:
    """Empty ones are told; pages keep the number of their sheet."""
    parsed = xlsx.parse(samples.workbook({"People": PEOPLE, "Empty": [], "Notes": [["one"], ["two"]]}), "a.xlsx")
    assert under(parsed) == [
        (("People",), "People\n\nName: Ada | Born: 1815\nName: Alan | Born: 1912"),
        (("Notes",), "Notes\n\none\ntwo"),
    ]
    assert [(span.page, parsed.text[span.start : span.start + 5]) for span in parsed.pages] == [
        (1, "Peopl"),
        (3, "Notes"),
    ]
    assert (parsed.metadata["sheets"], parsed.metadata["empty_sheets"]) == ("3", "Empty")


def test_figures_and_dates_have_one_form() -> None:
    """No locale, no binary dust, percent as it is shown."""
    book = openpyxl.Workbook()
    day = datetime.datetime(2020, 1, 2)
    row = [
        0.1 + 0.2,
        3.0,
        day,
        day.replace(hour=3),
        datetime.time(4, 5),
        True,
        datetime.timedelta(hours=30),
        0.25,
        1e30,
    ]
    book.active.append([*row, "text"])
    book.active["H1"].number_format = "0.0%"
    text = xlsx.parse(samples.saved(book), "a.xlsx").text
    assert text.split("\n")[-1] == "0.3\t3\t2020-01-02\t2020-01-02 03:00:00\t04:05:00\tTRUE\t30:00:00\t25%\t1e+30\ttext"


def test_formulas_that_nothing_has_calculated_are_told() -> None:
    """Their values are not in the file."""
    parsed = xlsx.parse(samples.workbook({"S": [["a", "b"], ["x", "=1+1"]]}), "a.xlsx")
    assert parsed.metadata["formulas_without_value"] == "1" and "=" not in parsed.text


def test_hidden_sheets_are_read_and_told() -> None:
    """Anybody who opens the file can show them."""
    book = openpyxl.Workbook()
    book.active["A1"] = "seen"
    hidden = book.create_sheet("Secret")
    hidden["A1"], hidden.sheet_state = "found", "hidden"
    parsed = xlsx.parse(samples.saved(book), "a.xlsx")
    assert "found" in parsed.text and parsed.metadata["hidden_sheets"] == "Secret"


def test_a_sheet_of_two_cells_that_declares_the_largest_size_is_read_at_once() -> None:
    """A blank of a million rows is one blank line."""
    book = samples.workbook({"S": [["x"]]})
    xml = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<dimension ref="A1:XFD1048576"/><sheetData>'
        '<row r="1"><c r="A1" t="inlineStr"><is><t>near</t></is></c></row>'
        '<row r="1048576"><c r="XFD1048576"><v>5</v></c></row></sheetData></worksheet>'
    )
    parsed = xlsx.parse(samples.repacked(book, "xl/worksheets/sheet1.xml", xml.encode()), "a.xlsx")
    assert parsed.text == "S\n\nnear\n\n5"


def test_a_cell_that_makes_no_sense_costs_itself() -> None:
    """A shared string that is not there, a date beyond all calendars."""
    xml = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        '<row r="1"><c r="A1" t="s"><v>999</v></c><c r="B1" t="n"><v>nonsense</v></c>'
        '<c r="C1" t="d"><v>2020-99</v></c><c r="D1"><v>7</v></c></row></sheetData></worksheet>'
    )
    book = samples.workbook({"S": [["x"]]})
    assert "7" in xlsx.parse(samples.repacked(book, "xl/worksheets/sheet1.xml", xml.encode()), "a").text


# ── PowerPoint ───────────────────────────────────────────────────────────────────────────────────────────


def test_each_slide_is_a_page_under_its_title_with_its_notes() -> None:
    """A slide without a title stands under none."""
    parsed = slides.parse(
        samples.slides(("One", "first"), ("", "second"), ("Three", "third"), notes="say so"), "a.pptx"
    )
    assert [parsed.text[span.start : span.end] for span in parsed.pages] == [
        "One\n\nfirst",
        "second",
        "Three\n\nthird\n\nNotes: say so",
    ]
    assert under(parsed) == [(("One",), "One\n\nfirst"), (("Three",), "Three\n\nthird\n\nNotes: say so")]
    assert (parsed.title, parsed.metadata["slides"]) == ("One", "3")


def test_shapes_are_read_from_top_to_bottom_tables_groups_and_charts_too() -> None:
    """In whatever order they were drawn; the words of a chart lie in a part of their own."""
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "T"
    numbers = CategoryChartData()
    numbers.categories = ["East", "West"]
    numbers.add_series("Sales", (1, 2))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, Inches(7), Inches(1), Inches(1), numbers)
    low = slide.shapes.add_textbox(Inches(1), Inches(6), Inches(1), Inches(1))
    low.text_frame.text = "low"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(4), Inches(3), Inches(1)).table
    for at, value in enumerate("abcd"):
        table.cell(at // 2, at % 2).text = value
    group = slide.shapes.add_group_shape()
    for left, text in ((3, "right"), (1, "left")):
        group.shapes.add_textbox(Inches(left), Inches(3), Inches(1), Inches(1)).text_frame.text = text
    assert slides.parse(samples.saved(show), "a").text == "T\n\nleft\n\nright\n\na\tb\nc\td\n\nlow\n\nSales\nEast\nWest"


def test_a_hidden_slide_is_read_and_told_and_a_broken_one_costs_itself() -> None:
    """When all are broken the file is damaged."""
    show = pptx.Presentation(io.BytesIO(samples.slides(("One", "first"), ("Two", "second"), ("Three", "third"))))
    show.slides[0]._element.set("show", "0")
    shape = show.slides[1].shapes[1]._element
    shape.spPr.find(".//{*}off").set("y", "low")
    parsed = slides.parse(samples.saved(show), "a")
    assert (parsed.metadata["hidden_slides"], parsed.metadata["slides_failed"]) == ("1", "2")
    assert [span.page for span in parsed.pages] == [1, 3]


def test_slides_without_a_word_have_no_text() -> None:
    """They may be pictures that need OCR."""
    with pytest.raises(Unparsable) as refused:
        slides.parse(samples.slides(("", "")), "a.pptx")
    assert refused.value.reason == "no_text"


# ── Word ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_stands_beside_the_body_of_a_word_file_comes_last_once_and_under_no_heading() -> None:
    """Headers are repeated on each page, but said once."""
    document = docx.Document()
    document.add_heading("One", 1)
    paragraph = document.add_paragraph("body")
    document.sections[0].header.paragraphs[0].text = "the header"
    document.add_section().footer.paragraphs[0].text = "the footer"
    document.add_comment(paragraph.runs, "a comment")
    parsed = word.parse(samples.saved(document), "a.docx")
    assert parsed.text == "One\n\nbody\n\nthe header\n\nthe footer\n\na comment"
    assert under(parsed) == [(("One",), "One\n\nbody")]


def test_word_templates_and_files_with_macros_are_read() -> None:
    """They differ in one content type; macros are never looked at."""
    sample = samples.word(("Normal", "words"))
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        types = archive.read("[Content_Types].xml").decode()
    plain = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    macro = types.replace(plain, "application/vnd.ms-word.document.macroEnabled.main+xml")
    assert word.parse(samples.repacked(sample, "[Content_Types].xml", macro.encode()), "a.docm").text == "words"


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("parser", "sample", "part"), OFFICE)
def test_an_office_file_that_is_a_bomb_is_refused_before_it_is_unpacked(
    parser: object, sample: bytes, part: str
) -> None:
    """By what it would unpack to: one part of 64 MiB of nothing, or so many parts."""
    bombs = [samples.repacked(sample, part, b"<x>" + bytes(64 << 20))]
    bombs.append(samples.zipped({f"{at}.xml": b"" for at in range(10_001)}))
    for bomb in bombs:
        with pytest.raises(Unparsable) as refused:
            parser.parse(bomb, "a")  # type: ignore[attr-defined]
        assert refused.value.reason == "too_large"


LAUGHS = (
    '<?xml version="1.0"{0}?><!-- {1} --><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(9))
    + "]><x>&j;</x>"
)
OUTSIDE = '<?xml version="1.0"{0}?><!-- {1} --><!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'


@pytest.mark.parametrize("xml", [LAUGHS, OUTSIDE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("parser", "sample", "part"), OFFICE)
def test_an_office_file_with_entities_is_refused_wherever_they_hide(
    parser: object, sample: bytes, part: str, encoding: str, xml: str
) -> None:
    """Behind a long comment, or in another encoding."""
    hidden = xml.format(f' encoding="{encoding}"', "c" * 5000).encode(encoding)
    with pytest.raises(Unparsable) as refused:
        parser.parse(samples.repacked(sample, part, hidden), "a")  # type: ignore[attr-defined]
    assert refused.value.reason == "damaged" and "entities" in refused.value.detail


def test_a_document_type_is_found_before_the_root_and_nowhere_else() -> None:
    """Text may speak of it; a prolog that never ends is taken to hide one."""
    assert has_document_type(b"<!DOCTYPE x><x/>") and has_document_type(b"<!--" + b"c" * (1 << 16))
    assert not has_document_type(b"<x><![CDATA[<!DOCTYPE x>]]></x>") and not has_document_type(b"\x89PNG")


@pytest.mark.parametrize(("parser", "sample", "part"), OFFICE)
def test_an_office_file_that_refers_outside_is_read_without_following(
    parser: object, sample: bytes, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket is opened and no file beside it is read."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a parser asked for something outside of its file")

    monkeypatch.setattr("socket.socket", forbidden)
    folder, _, file = part.rpartition("/")
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId99" TargetMode="External" Target="http://example.org/x" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"/></Relationships>'
    )
    name = f"{folder}/_rels/{file}.rels"
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        if name in archive.namelist():
            relations = archive.read(name).decode().replace("</Relationships>", relations.partition(">")[2])
    changed = samples.repacked(sample, name, relations.encode())
    assert parser.parse(changed, "a").text == parser.parse(sample, "a").text  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(which=st.integers(0, 2), at=st.floats(0, 1), junk=st.binary(max_size=40), cut=st.booleans())
def test_a_torn_office_file_is_read_or_refused(which: int, at: float, junk: bytes, cut: bool) -> None:
    """Damage inside the document itself and to the archive around it; a library may raise, but it ends."""
    parser, sample, part = OFFICE[which]
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        xml = archive.read(part)
    place = int(at * len(xml))
    torn = samples.repacked(sample, part, xml[:place] + junk + (b"" if cut else xml[place + len(junk) :]))
    place = int(at * len(sample))
    for data in (torn, sample[:place] + junk + sample[place + len(junk) :]):
        try:
            parsed = parser.parse(data, "a")
        except Exception:  # the worker takes it for damaged
            continue
        assert all(span.end <= len(parsed.text) for span in parsed.headings)
