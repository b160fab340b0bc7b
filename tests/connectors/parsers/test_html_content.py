"""What is kept of a whole page, and that nothing is dropped of anything else."""

from __future__ import annotations

import pytest

from penstock.connectors.parsers import html, main_content
from penstock.connectors.parsers.parsed import Parsed

SENTENCES = [
    f"The {each} gate of the penstock was opened by hand, and the water reached the turbine within a minute."
    for each in ("first", "second", "third", "fourth", "fifth", "sixth")
]
TABLE = "<table><tr><th>gate</th><th>litres</th></tr><tr><td>upper</td><td>4200</td></tr></table>"
ARTICLE = (
    f"<h2>How it opens</h2><p>{SENTENCES[0]}</p><p>{SENTENCES[1]}</p>{TABLE}"
    f"<h2>How it closes</h2><p>{SENTENCES[2]}</p><pre>close --gate  upper</pre><p>{SENTENCES[3]}</p>"
)
MENU = "".join(f'<li><a href="/{at}">Menu entry {at}</a></li>' for at in range(30))
BANNER = '<div class="cookie-banner"><p>We use cookies and value your privacy.</p><button>Accept all</button></div>'


def page(content: str, before: str = "", after: str = "") -> Parsed:
    markup = f"<!doctype html><html><head><title>Gates</title></head><body>{before}{content}{after}</body></html>"
    return html.parse(markup.encode(), "gates.html")


@pytest.mark.parametrize("element", ["main", 'div role="main"', "article", 'div class="post-content"'])
def test_a_page_keeps_its_content_and_not_what_is_around_it(element: str) -> None:
    """Menus, banners and footers go, whether or not the author marked the content; what went is counted."""
    content = f"<{element}>{ARTICLE}</{element.split()[0]}>"
    around = f'<div class="menu"><ul>{MENU}</ul></div>{BANNER}'
    parsed = page(content, around, "<div id='footer'>© 2031 Gate Makers</div>")
    assert all(sentence in parsed.text for sentence in SENTENCES[:4])
    assert "gate\tlitres\nupper\t4200" in parsed.text and "close --gate  upper" in parsed.text
    for gone in ("Menu entry", "cookies", "Accept", "©"):
        assert gone not in parsed.text
    assert parsed.metadata["left_out"].endswith(" words") and parsed.title == "Gates"


def test_headings_delimit_the_content_that_was_kept() -> None:
    """A title that stands above the content, in the page's own header, still leads the paths."""
    header = f"<header><h1>About gates</h1><ul>{MENU}</ul></header>"
    parsed = page(f"<main>{ARTICLE}</main>", header)
    assert [span.path for span in parsed.headings] == [
        ("About gates",),
        ("About gates", "How it opens"),
        ("About gates", "How it closes"),
    ]
    assert parsed.text.startswith("About gates\n\nHow it opens\n\n") and "Menu" not in parsed.text
    assert parsed.text[parsed.headings[2].start :].startswith("How it closes\n\nThe third")


def test_a_page_of_which_too_much_would_go_is_kept_whole() -> None:
    """Two articles side by side: neither is boilerplate."""
    other = "".join(f"<p>{sentence.replace('gate', 'valve')}</p>" for sentence in SENTENCES)
    parsed = page(f'<div class="a">{ARTICLE}</div><div class="b">{other}</div>')
    assert "sixth valve" in parsed.text and "fourth gate" in parsed.text
    assert "left_out" not in parsed.metadata


def test_a_page_of_links_alone_is_kept_whole() -> None:
    """An index of pages is its own content."""
    assert page(f"<div><ul>{MENU}</ul></div>").text.count("Menu entry") == 30


def test_a_fragment_keeps_every_word() -> None:
    """What an API or a mail carries is content from its first word."""
    markup = f'<div class="menu"><ul>{MENU}</ul></div>{BANNER}<main>{ARTICLE}</main><footer>the end</footer>'
    for parsed in (html.parse(markup.encode(), "x"), html.read_markup(f"<html>{markup}", "x", pruned=False)):
        for kept in ("Menu entry 29", "cookies", "the end", SENTENCES[3]):
            assert kept in parsed.text
        assert "left_out" not in parsed.metadata


@pytest.mark.parametrize("trouble", ["raises", "hangs", "finds nothing"])
def test_a_library_that_fails_costs_no_text(monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    """The whole page is kept; a library that hangs is left after its time."""
    import trafilatura

    def extraction(*_: object, **__: object) -> None:
        if trouble == "raises":
            raise RecursionError("too deep")
        while trouble == "hangs":
            pass

    monkeypatch.setattr(trafilatura, "bare_extraction", extraction)
    monkeypatch.setattr(main_content, "_SECONDS", 0.1)
    parsed = page(f'<div class="post">{ARTICLE}</div>', f"<div>{BANNER}</div>")
    assert "cookies" in parsed.text and SENTENCES[3] in parsed.text
