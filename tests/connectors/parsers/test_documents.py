"""What each parser makes of its bytes: text, and spans that delimit it exactly."""

from __future__ import annotations

import io
from itertools import pairwise

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.parsers import docx as word
from penstock.connectors.parsers import html, markdown, text
from penstock.connectors.parsers.outline import Heading, spans
from penstock.connectors.parsers.parsed import Parsed, Unparsable, tidy
from tests.connectors import samples


def under(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(span.path, parsed.text[span.start : span.end].strip()) for span in parsed.headings]


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────

PAGE = """<!doctype html><html><head><title> The
 page </title><meta name="author" content="A. Writer"><style>p {}</style></head><body>
<nav>menu</nav><p>Before <b>all</b>.</p><h1>One</h1><p>first<br>line</p><script>x()</script>
<h2>Two <i>and</i> more</h2><ul><li>a</li><li>b</li></ul><h1></h1>
<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table><pre>  kept
    as is</pre><h1>Last</h1>tail</body></html>"""


def test_html_becomes_visible_text_with_blocks_apart() -> None:
    """No navigation, scripts or styles; cells by tabs, preformatted text as it stands."""
    parsed = html.parse(PAGE.encode(), "a.html")
    assert parsed.text == (
        "Before all.\n\nOne\n\nfirst\nline\n\nTwo and more\n\na\nb\n\n1\t2\n3\n\n  kept\n    as is\n\nLast\n\ntail"
    )
    assert (parsed.title, parsed.metadata) == ("The page", {"author": "A. Writer"})


def test_html_headings_span_to_the_next_one() -> None:
    """Path outermost first; what stands before the first heading has none."""
    parsed = html.parse(PAGE.encode(), "a.html")
    assert under(parsed) == [
        (("One",), "One\n\nfirst\nline"),
        (("One", "Two and more"), "Two and more\n\na\nb\n\n1\t2\n3\n\n  kept\n    as is"),
        (("Last",), "Last\n\ntail"),
    ]
    assert parsed.text[parsed.headings[0].start :].startswith("One")


def test_html_is_read_in_the_encoding_that_it_declares() -> None:
    """By a meta element, where the bytes alone would be a guess."""
    page = '<html><head><meta charset="windows-1253"></head><body><p>Ελλάδα'
    assert html.parse(page.encode("cp1253"), "a.html").text == "Ελλάδα"


def test_html_nested_too_deeply_is_refused_and_not_cut_short() -> None:
    """The library would drop what lies deeper and say nothing."""
    deep = b"<html><body>" + b"<div>" * 5000 + b"deep" + b"</div>" * 5000 + b"<p>after"
    with pytest.raises(Unparsable) as refused:
        html.parse(deep, "a.html")
    assert refused.value.reason == "damaged"


def test_html_headings_inside_headings_stay_in_order() -> None:
    """Broken nesting must not let spans overlap."""
    parsed = html.parse(b"<html><body><h1>outer <h2>inner</h2> rest</h1><p>words", "a.html")
    assert all(before.end <= after.start for before, after in pairwise(parsed.headings)) and parsed.headings


@given(markup=st.lists(st.sampled_from(["<h1>", "</h1>", "<h2>", "<p>", "<td>", "<pre>", "x ", "\n", "é", "</p>"])))
def test_html_spans_are_sorted_and_inside_whatever_the_markup(markup: list[str]) -> None:
    """Broken nesting included."""
    parsed = html.parse(("<html><body>" + "".join(markup)).encode(), "a.html")
    at = 0
    for span in parsed.headings:
        assert at <= span.start < span.end <= len(parsed.text)
        at = span.end


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────


def test_markdown_stays_as_it_is_and_its_headings_are_found() -> None:
    """Not in code, quotations or front matter; line ends are made one kind."""
    source = (
        "---\ntitle: 'Front'\nauthor: me\n---\nbefore\n# One *em* `c`\r\ntext\n```\n# code\n```\n> # quoted\n\n"
        "Under\nlined\n---\nmore\n### Deep [l](http://x)\nend"
    )
    parsed = markdown.parse(source.encode(), "a.md")
    assert parsed.text == source.replace("\r\n", "\n")
    assert under(parsed) == [
        (("One em c",), "# One *em* `c`\ntext\n```\n# code\n```\n> # quoted"),
        (("One em c", "Under lined"), "Under\nlined\n---\nmore"),
        (("One em c", "Under lined", "Deep l"), "### Deep [l](http://x)\nend"),
    ]
    assert (parsed.title, parsed.metadata) == ("Front", {"author": "me"})


@given(
    lines=st.lists(st.sampled_from(["# a", "## b", "", "text", "===", "- x", "    # c", "\x0c", "\u2028# d", "~~~"]))
)
def test_markdown_spans_begin_at_their_heading_lines(lines: list[str]) -> None:
    """Odd line separators do not shift them."""
    parsed = markdown.parse(("\n".join(["start", "", *lines])).encode(), "a.md")
    for span in parsed.headings:
        assert span.start == 0 or parsed.text[span.start - 1] == "\n"
        assert span.path[-1].split()[0] in parsed.text[span.start : span.end]


# ── Word ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_word_paragraphs_and_tables_come_in_order_under_their_headings() -> None:
    """Heading styles give the path; the title is the file's own."""
    document = docx.Document()
    document.core_properties.title, document.core_properties.author = "Its title", "A. Writer"
    document.add_paragraph("before")
    document.add_heading("One", 1)
    table = document.add_table(2, 2)
    for at, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = str(at)
    document.add_heading("Two", 2)
    document.add_paragraph("a\tb\nc")
    parsed = word.parse(samples.saved(document), "a.docx")
    assert parsed.text == "before\n\nOne\n\n0\t1\n2\t3\n\nTwo\n\na\tb\nc"
    assert under(parsed) == [(("One",), "One\n\n0\t1\n2\t3"), (("One", "Two"), "Two\n\na\tb\nc")]
    assert (parsed.title, parsed.metadata["author"]) == ("Its title", "A. Writer")


def test_word_text_in_content_controls_is_kept_and_deleted_text_is_not() -> None:
    """What a reader sees is what is indexed."""
    sample = samples.word(("Normal", "before"))
    body = io.BytesIO(sample)
    xml = docx.Document(body).element.xml
    control = "<w:sdt><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    revised = "<w:p><w:ins><w:r><w:t>put in</w:t></w:r></w:ins><w:del><w:r><w:t>taken out</w:t></w:r></w:del></w:p>"
    changed = xml.replace("<w:sectPr", control + revised + "<w:sectPr", 1)
    parsed = word.parse(samples.repacked(sample, "word/document.xml", changed.encode()), "a.docx")
    assert parsed.text == "before\n\ncontrolled\n\nput in"


def test_a_word_file_that_is_an_archive_bomb_is_refused_before_it_is_unpacked() -> None:
    """Told by the sizes that the archive declares."""
    bomb = samples.repacked(samples.word(("Normal", "x")), "word/media/bomb.bin", bytes(64 << 20))
    assert len(bomb) < 1 << 20
    with pytest.raises(Unparsable) as refused:
        word.parse(bomb, "a.docx")
    assert refused.value.reason == "too_large"


def test_a_word_file_that_declares_entities_is_refused() -> None:
    """No entity is ever resolved, from the file or from outside."""
    xml = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    with pytest.raises(Unparsable) as refused:
        word.parse(samples.repacked(samples.word(("Normal", "x")), "word/document.xml", xml), "a.docx")
    assert refused.value.reason == "damaged"


# ── text and spans ───────────────────────────────────────────────────────────────────────────────────────


def test_a_text_tells_its_encoding_when_it_is_not_utf8() -> None:
    """So that a wrong guess can be found out."""
    assert text.parse("déjà".encode(), "a") == Parsed(text="déjà")
    assert text.parse("déjà vu, très cher".encode("cp1252"), "a").metadata == {"encoding": "cp1252"}


@given(st.text(st.characters(), max_size=60))
def test_tidy_text_can_be_written_as_utf8_and_is_left_alone_thereafter(raw: str) -> None:
    """No NUL, no lone surrogate, one kind of line end."""
    clean = tidy(raw)
    assert clean.encode() is not None and tidy(clean) == clean
    assert not set("\x00\r") & set(clean)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.sampled_from(["a", "b", " ", ""]))))
def test_heading_spans_cover_all_from_the_first_titled_heading_on(raw: list[tuple[int, int, str]]) -> None:
    """Sorted, not overlapping, without holes; no path is deeper than its levels."""
    headings, at = [], 0
    for step, level, title in raw:
        at += step
        headings.append(Heading(start=at, level=level, title=title))
    found = spans(headings, at + 1)
    titled = [heading for heading in headings if heading.title.strip()]
    if titled:
        assert found[0].start >= titled[0].start and found[-1].end == at + 1
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(span.start < span.end and 1 <= len(span.path) <= 4 for span in found)
