"""What a hostile server writes is read in a time that grows with its length, and in memory that does not outgrow it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.connectors.sources import mediawiki_api, mediawiki_login, mediawiki_page, s3_listing
from penstock.connectors.sources.globs import Globs
from penstock.connectors.sources.object_client import _bounded
from penstock.connectors.sources.rest.paging import next_link
from penstock.connectors.sources.rest.shelf import Shelf

MANY = 200_000


def listing() -> None:
    body = b"<ListBucketResult>" + b"<Contents>" * MANY + b"</ListBucketResult>"
    with pytest.raises(s3_listing.Garbled):
        s3_listing.page_of(body)


@pytest.mark.parametrize(
    "read",
    [
        listing,
        lambda: next_link("<a>;rel=" + '"' + "next " * 18_000),
        lambda: next_link("<a>;" * 25_000),
        lambda: mediawiki_page.markup("t", "<!--" * MANY),
        lambda: mediawiki_login.plain("<" * MANY),
        lambda: mediawiki_api.one_line("a \x1b" * MANY),
        lambda: Globs(["*_*_*_*_*_*.pdf"]).wants_file("_" * 1000),
        lambda: Globs(["**/a/**/b/**/c/**/d.txt"]).wants_file("a/b/c/" * 300 + "x"),
        lambda: Globs(exclude=["**/*a*a*/**/*a*a*/**/x/"]).enters("aaaaaaaa/" * 100 + "y"),
    ],
)
def test_no_text_takes_long_to_read(read: Callable[[], object]) -> None:
    """Each of these took minutes, or for ever, with an expression that goes back and tries again."""
    began = time.process_time()
    read()
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    ("header", "leads_to"),
    [
        ('<p2>; rel="next"', "p2"),
        ("<p1>; rel=prev, <p2>; title=x; rel=next", "p2"),
        ('<p2>; REL="last Next"', "p2"),
        ('<p2>; title="rel=next"', ""),
        ('<p2>; rel="nextest"', ""),
        ("<p2>; norel=next", ""),
    ],
)
def test_the_next_link_is_the_one_that_says_so(header: str, leads_to: str) -> None:
    """Whatever else stands beside it."""
    assert next_link(header) == leads_to


def test_comments_are_left_out_and_one_without_an_end_stays() -> None:
    """As an expression would have it, in one pass."""
    text = "a<!-- b -->c<!----><!-->d--><!-- e"
    assert mediawiki_page.uncommented(text) == re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def test_an_object_that_is_nested_too_deeply_is_not_kept(tmp_path: Path) -> None:
    """What could just be read may be too deep to be written: that ends no run."""
    row: list[object] = []
    for _ in range(5000):
        row = [row]
    shelf = Shelf(tmp_path, lambda: "t")
    assert shelf.put(("c", "1"), {"id": 1}) and not shelf.put(("c", "1"), row)
    assert shelf.get(("c", "1")) is None


def test_a_bucket_that_sends_more_than_was_asked_for_is_cut_off() -> None:
    """Its announced length may be a lie."""
    sent: list[int] = []

    class Answer:
        def stream(self, min_chunk_size: int) -> object:
            for number in range(1000):
                sent.append(number)
                yield b"x" * 100

    with pytest.raises(s3_listing.Garbled, match="more than 250 bytes"):
        _bounded(Answer(), 250)
    assert len(sent) == 3
