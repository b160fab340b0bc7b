"""Paths into JSON, dates, templates: the right thing for what is right, nothing at all for what is strange."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.rest.dates import iso, moment, written, zone_of
from penstock.connectors.sources.rest.fields import elements, every, first, scalar, steps, text_of
from penstock.connectors.sources.rest.grammar import compiled, names
from penstock.connectors.sources.rest.template import TooMuch, render

ISSUE: dict[str, Any] = {
    "id": 7,
    "subject": "Pump <leaks>",
    "author": {"name": "Ann"},
    "odd.name": "x",
    "tags": ["a", "b", None],
    "fields": [{"name": "Severity", "value": "high"}, {"name": "Other", "value": 1}],
    "journals": [
        {"user": {"name": "Bo"}, "notes": "first\nline", "on": "2024-01-31T12:00:00Z"},
        {"user": {"name": "Cy"}, "notes": "", "on": 1706702400},
    ],
    "closed": False,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "a", "b", "name"]), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", [ISSUE]),
        ("id", [7]),
        ("author.name", ["Ann"]),
        ('["odd.name"]', ["x"]),
        ("tags[0]", ["a"]),
        ("tags[-1]", [None]),
        ("tags[9]", []),
        ("tags[]", ["a", "b", None]),
        ("journals[].user.name", ["Bo", "Cy"]),
        ("journals[*].notes", ["first\nline", ""]),
        ("fields[name=Severity].value", ["high"]),
        ('fields[name="Other"].value', [1]),
        ("author.name.first", []),
        ("nothing.at[0].all", []),
    ],
)
def test_a_path_finds_what_stands_there(path: str, found: list[Any]) -> None:
    """Names, places, all elements, those with a certain member; what is missing is empty."""
    assert every(ISSUE, path) == found


@pytest.mark.parametrize(
    "path", [".id", "a..b", "a.", "a[", "a]b", "a b", "a[x]", "a.[0]", "a[0]b", "{a}", "a" + ".a" * 40]
)
def test_what_is_no_path_is_refused_in_one_line(path: str) -> None:
    """The message shows the path."""
    with pytest.raises(ValueError, match=r"^\"") as error:
        steps(path)
    assert "\n" not in str(error.value)


@given(json_values, st.sampled_from(["a", "a.b[].name", "[0].a", "[][].id", "a[name=x]", "a[-2]", ""]))
def test_no_json_is_too_strange_for_a_path(value: Any, path: str) -> None:
    """Whatever stands there becomes text that UTF-8 carries."""
    for found in (*every(value, path), *elements(value, path), first(value, path)):
        assert text_of(found).encode() is not None
        assert "\0" not in scalar(found)


def test_text_is_for_people() -> None:
    """Lists joined, null empty, objects as JSON, lone surrogates replaced, numbers as they are."""
    values = [["a", 1, None], None, {"b": 1, "a": 2}, "\ud800x\0", 12, 1.5, True, 10**5000]
    assert [text_of(value) for value in values] == ["a, 1", "", '{"a":2,"b":1}', "?x", "12", "1.5", "true", ""]


# ── dates ────────────────────────────────────────────────────────────────────────────────────────────────────

NOON = 1706702400.0


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31T12:00:00Z",
        "2024-01-31T12:00:00.000Z",
        "2024-01-31T12:00:00.0000000Z",
        "2024-01-31T13:00:00+01:00",
        "2024-01-31T13:00:00+0100",
        "2024-01-31 12:00:00",
        "2024-01-31 12:00:00 UTC",
        "2024-01-31 13:00:00 +0100",
        "2024/01/31 13:00:00 +0100",
        "20240131T120000Z",
        "20240131120000",
        "2024-01-31T12:00",
        "Wed, 31 Jan 2024 12:00:00 GMT",
        "Wed, 31 Jan 2024 13:00:00 +0100",
        "Wed Jan 31 12:00:00 2024",
        "31 Jan 2024 12:00",
        "31.01.2024 12:00",
        "Jan 31, 2024 12:00 PM",
        "1706702400",
        "1706702400000",
        "1706702400.0",
        "/Date(1706702400000)/",
        1706702400,
        1706702400000,
        1706702400000000,
        1706702400.0,
        " 2024-01-31T12:00:00Z ",
    ],
)
def test_a_date_is_read_in_whatever_form(text: Any) -> None:
    """All of these are noon of one day."""
    found = moment(text)
    assert found is not None and found.seconds == NOON


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", "03/04/2024", True, [], {}, float("nan"), float("inf"), 10**30, "9" * 40, "0000-00-00", "-"],
)
def test_what_is_no_date_is_none(value: Any) -> None:
    """Nor is a date guessed that two people would read in two ways."""
    assert moment(value) is None


def test_a_date_without_a_zone_is_of_the_configured_one() -> None:
    """Also of one with summer time; one that says its zone keeps it."""
    berlin = zone_of("Europe/Berlin")
    assert moment("2024-01-31 13:00:00", berlin) == moment("2024-07-31 14:00:00", berlin)._replace(seconds=NOON)  # type: ignore[union-attr]
    assert moment("2024-07-31 14:00:00", berlin).seconds == moment("2024-07-31T12:00:00Z").seconds  # type: ignore[union-attr]
    assert moment("2024-01-31T12:00:00Z", berlin).seconds == NOON  # type: ignore[union-attr]
    assert moment("2024-01-31 14:00:00", zone_of("+02:00")).seconds == NOON  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="timezone"):
        zone_of("Mars/Olympus")


def test_a_date_format_settles_what_is_ambiguous() -> None:
    """And only dates of that form are dates then."""
    assert moment("03/04/2024", date_format="%d/%m/%Y") == moment("2024-04-03")
    assert moment("2024-04-03", date_format="%d/%m/%Y") is None


def test_the_token_of_a_moment_keeps_the_precision_that_was_given() -> None:
    """The same moment in another zone has the same token."""
    assert moment("2024-01-31T12:00:00Z").token() == moment("2024-01-31T13:00:00+01:00").token() == "1706702400"  # type: ignore[union-attr]
    assert moment("2024-01-31T12:00:00.120Z").token() == "1706702400.120"  # type: ignore[union-attr]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2150, 1, 1)))
def test_every_form_of_a_date_is_the_same_moment(at: datetime) -> None:
    """ISO 8601, RFC 2822, seconds and milliseconds, as number and text."""
    at = at.replace(microsecond=0, tzinfo=UTC)
    seconds = int(at.timestamp())
    forms = [at.isoformat(), iso(seconds), format_datetime(at), at.strftime("%Y-%m-%d %H:%M:%S")]
    forms += [seconds * 1000] if seconds * 1000 >= 10**11 else []
    assert {moment(form).seconds for form in [*forms, seconds]} == {seconds}  # type: ignore[union-attr]
    assert moment(written(seconds, "iso", UTC)).seconds == seconds  # type: ignore[union-attr]


@given(st.text(max_size=70) | st.integers() | st.floats() | st.from_regex(r"[0-9:TZ/.+ -]{5,30}", fullmatch=True))
def test_no_text_breaks_the_reading_of_dates(value: Any) -> None:
    """A moment within reason, or None."""
    found = moment(value)
    assert found is None or found.token()


def test_a_moment_is_written_as_an_api_takes_it() -> None:
    """Rounded down, so that nothing is missed."""
    forms = ("iso", "date", "epoch", "epoch_ms", "%d.%m.%Y %H:%M")
    assert [written(NOON + 0.9, form, zone_of("+02:00")) for form in forms] == [
        "2024-01-31T12:00:00Z", "2024-01-31", "1706702400", "1706702400900", "31.01.2024 14:00",
    ]  # fmt: skip


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("plain {{x}}", "plain {x}"),
        ("{id}: {subject}", "7: Pump <leaks>"),
        ("{author.name} {nobody.name}.", "Ann ."),
        ("{tags}", "a, b"),
        ("{journals[].user.name}", "Bo, Cy"),
        ("{for j in journals}{j.user.name};{end}", "Bo;Cy;"),
        ("{for j in journals}{j.on|date} {subject}\n{end}", "2024-01-31T12:00:00Z Pump <leaks>\n" * 2),
        ("{for t in tags}{t},{end}", "a,b,"),
        ("{for f in fields[name=Severity]}{f.value}{end}", "high"),
        ("{if closed}shut{else}open{end} {if not closed}!{end}{if author}?{end}", "open !?"),
        ("{for j in journals}\n  {if j.notes}\n- {j.notes|line}\n  {end}\n{end}\nend", "- first line\nend"),
        ("{for a in journals}{for b in a.user}{b}{end}{end}", '{"name":"Bo"}{"name":"Cy"}'),
        ("{subject|base64}", ""),
        ('{["odd.name"]}', "x"),
    ],
)
def test_a_template_makes_text_of_json(template: str, made: str) -> None:
    """Values, loops, conditions, filters; a tag alone on its line takes the line with it."""
    assert render(template, ISSUE) == made


def test_values_are_escaped_unless_they_are_raw() -> None:
    """And `lines` keeps line breaks in HTML."""
    import html

    assert render("<p>{subject}</p>{subject|raw}", ISSUE, escape=html.escape) == "<p>Pump &lt;leaks&gt;</p>Pump <leaks>"
    assert render("{journals[0].notes|lines}", ISSUE, escape=html.escape) == "first<br>\nline"
    assert render("{c|base64}", {"c": "w7xiZXI="}) == "über"


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "}",
        "{}",
        "{for x in y}",
        "{if x}{else}",
        "{end}",
        "{else}",
        "{x|shout}",
        "{a b}",
        "{if x}" * 12 + "{end}" * 12,
    ],
)
def test_what_is_no_template_is_refused_in_one_line(template: str) -> None:
    """With the tag or the way to write it."""
    with pytest.raises(ValueError, match=r".") as error:
        compiled(template)
    assert "\n" not in str(error.value)


def test_the_names_that_a_template_reads_are_known() -> None:
    """Those at the beginning of its paths, loops included."""
    assert names("{id} {a.b} {for x in c}{if d}{x.y}{else}{e}{end}{end}") == {"id", "a", "c", "d", "x", "e"}


def test_a_text_that_grows_too_long_is_stopped() -> None:
    """By its length, and loops within loops by their steps although they write nothing."""
    with pytest.raises(TooMuch):
        render("{for a in x}{for b in x}many{end}{end}", {"x": list(range(1000))}, limit=100_000)
    with pytest.raises(TooMuch):
        render("{for a in x}{for b in x}{for c in x}{end}{end}{end}", {"x": list(range(400))})
    with pytest.raises(TooMuch):  # a long list that is looked at within a loop
        render("{for a in x}{if y[]}{end}{end}", {"x": list(range(2000)), "y": [None] * 2000})


@given(json_values)
def test_no_json_is_too_strange_for_a_template(value: Any) -> None:
    """The same JSON gives the same text, whatever it is; and it can be written."""
    template = "{a.b|date}{for x in a}{x.name|line}{if x.b}{x.b|base64}{end}{end}{[0].id|lines}"
    made = render(template, value)
    assert made == render(template, json.loads(json.dumps(value)))
    assert made.encode() is not None
