"""Tables in text: delimiters, headers, and rows that can be read alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.connectors.parsers import csv
from penstock.connectors.parsers.parsed import Unparsable


def read(text: str, encoding: str = "utf-8") -> str:
    return csv.parse(text.encode(encoding), "a.csv").text


@pytest.mark.parametrize(("delimiter", "called"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "pipe")])
def test_each_row_carries_its_column_names_whatever_the_delimiter(delimiter: str, called: str) -> None:
    """A chunk from the middle of a table is understood without its header."""
    rows = [["name", "born", "city"], ["Ada", "1815", "London"], ["Alan", "1912", ""]]
    parsed = csv.parse("\n".join(delimiter.join(row) for row in rows).encode(), "a.csv")
    assert parsed.text == "name: Ada | born: 1815 | city: London\nname: Alan | born: 1912"
    assert parsed.metadata == {"rows": "2", "columns": "name, born, city", "delimiter": called}


def test_decimal_commas_are_no_delimiters() -> None:
    """The delimiter is the one that makes all rows equally wide."""
    assert read("item;price\nbread;1,50\nmilk;0,99\nten, or so;10\n").startswith("item: bread | price: 1,50\n")


def test_rows_longer_or_shorter_than_the_header_are_kept_whole() -> None:
    """What has no name is said without one."""
    assert read("a,b\n1,2,3,x\n4\n5,6\n") == "a: 1 | b: 2 | 3 | x\na: 4\na: 5 | b: 6"


def test_a_column_that_is_always_empty_is_still_named() -> None:
    """At the end, once."""
    assert read("a,b,c\n1,,\n2,,\n") == "a: 1\na: 2\nColumns without values: b, c"


def test_a_table_of_figures_has_no_header() -> None:
    """Then cells are set off by tabs, and none is taken for a name."""
    assert read("1,2\n3,4\n") == "1\t2\n3\t4"


def test_a_column_for_each_year_is_a_header_and_a_column_of_years_is_none() -> None:
    """A figure may name a column when nothing like it stands below."""
    assert (
        read("country,2019,2020\nFR,1,2\nDE,3,4\n")
        == "country: FR | 2019: 1 | 2020: 2\ncountry: DE | 2019: 3 | 2020: 4"
    )
    assert read("FR,2019\nDE,2020\n") == "FR\t2019\nDE\t2020"


def test_lines_above_the_header_stay_lines() -> None:
    """Reports begin with their own title and date."""
    text = "Report for 2020\n\nname,share\na,1%\nb,2%\n"
    assert read(text) == "Report for 2020\n\nname: a | share: 1%\nname: b | share: 2%"


def test_a_long_row_becomes_a_block_with_its_line_breaks() -> None:
    """Tickets hold texts of many lines in one cell."""
    assert read('id,text\n7,"one\ntwo"\n8,short\n') == "id: 7\ntext: one\ntwo\n\nid: 8 | text: short"


def test_a_quote_that_is_never_closed_does_not_swallow_the_rest() -> None:
    """Each line is a row again."""
    assert read('a,b\n"open,1\nx,2\ny,3\n') == 'a: "open | b: 1\na: x | b: 2\na: y | b: 3'


def test_old_encodings_are_read_and_told() -> None:
    """Windows programs write what they always wrote."""
    parsed = csv.parse("Größe;Stück\n12;3\n13;4\n".encode("cp1252"), "a.csv")
    assert parsed.text.startswith("Größe: 12 | Stück: 3") and parsed.metadata["encoding"] == "cp1252"


def test_a_binary_file_with_a_tables_name_is_refused() -> None:
    """With the word for it."""
    with pytest.raises(Unparsable) as refused:
        csv.parse(bytes(range(256)), "a.csv")
    assert refused.value.reason == "unsupported"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.text(st.sampled_from('ab1 ,;\n"|\t'), max_size=6), max_size=4), max_size=12), st.booleans())
def test_no_letter_of_a_table_is_lost(rows: list[list[str]], closed: bool) -> None:
    """However ragged, quoted or torn it is: letters and figures all come out, names of columns at least once."""
    text = "\n".join(",".join(row) for row in rows) + ("" if closed else '"')
    parsed = csv.parse(text.encode() or b" ", "a.csv")
    assert {char for char in text if char.isalnum()} <= set(parsed.text)
