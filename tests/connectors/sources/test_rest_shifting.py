"""Lists that shift while they are read, lists that lie, links that lead astray."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.types import (
    Mark,
    StopSource,
)
from tests.connectors.sources.rest_bench import (
    NOW,
    collection,
    fill,
    gaps,
    handed,
    items,
    opened,
    pages_asked,
)
from tests.fakes.json_api import Answer, Asked, JsonApi


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        api.size = 10
        yield api


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return handed(tmp_path)


def once(act: Callable[[], object], page: str) -> Callable[[Asked], None]:
    """`act` before the first answer to this page."""
    left = [act]

    def hook(asked: Asked) -> None:
        if left and (asked.query.get("page") == page or asked.query.get("offset") == page):
            left.pop()()

    return hook


@pytest.mark.parametrize(("style", "page"), [("page", "3"), ("offset", "18")])
def test_a_row_that_vanishes_between_pages_makes_it_list_again(api: JsonApi, kit: Tools, style: str, page: str) -> None:
    """Else the row that slipped to an earlier page would look deleted."""
    fill(api, 35)
    api.hook = once(lambda: api.rows.pop("0"), page)  # type: ignore[assignment]
    entries = list(opened(api, kit, collection(style)).list())
    assert {f"crm/items/{number}" for number in range(1, 35)} <= set(items(entries))
    assert gaps(entries) == []
    assert len(pages_asked(api)) == 8


def test_a_row_that_comes_in_front_makes_it_list_again_without_repeating_items(api: JsonApi, kit: Tools) -> None:
    """The duplicate on the next page gives it away, without a total too."""
    fill(api, 35)
    new = {"id": "new", "title": "new", "text": "new", "at": NOW}

    def insert() -> None:
        api.rows = {"new": new, **api.rows}

    api.hook = once(insert, "3")  # type: ignore[assignment]
    entries = list(opened(api, kit, collection(total=None)).list())
    assert len(items(entries)) == 36 and "crm/items/new" in items(entries)
    assert gaps(entries) == []


@pytest.mark.parametrize("style", ["page", "next", "link", "cursor"])
def test_pages_that_are_counted_are_read_until_two_readings_agree(api: JsonApi, kit: Tools, style: str) -> None:
    """As many rows come as go: neither a total nor a duplicate tells that one slipped to a page that was read."""
    fill(api, 35)
    new = {"id": "new", "title": "new", "text": "new", "at": NOW}

    def swap() -> None:
        api.rows.pop("0")
        api.rows["new"] = new

    def hook(asked: Asked) -> None:
        if "0" in api.rows and (asked.query.get("page") == "2" or asked.query.get("after") == "10"):
            swap()

    api.hook = hook  # type: ignore[assignment]
    rules = collection(style)
    rules["paging"] = {**rules["paging"], "twice": True}
    entries = list(opened(api, kit, rules).list())
    assert {f"crm/items/{number}" for number in range(1, 35)} <= set(items(entries))
    assert gaps(entries) == [] and len(api.asked) == 12


def test_one_page_is_read_once_and_cursors_that_are_keys_are_too(api: JsonApi, kit: Tools) -> None:
    """There is nothing that could shift."""
    fill(api, 10)
    rules = collection("page")
    rules["paging"] = {"kind": "page", "size": 10}
    assert len(items(list(opened(api, kit, rules).list()))) == 10
    assert len(api.asked) == 1
    cursors = iter(["MTA=", "MjA=", None])
    rows = iter([[{"id": f"{page}-{row}", "at": NOW} for row in range(10)] for page in range(3)])
    api.hook = lambda asked: Answer({"items": next(rows), "next": {"after": next(cursors)}, "more": True})
    assert len(items(list(opened(api, kit, collection("cursor")).list()))) == 30


def test_rows_that_swap_places_under_an_offset_show_at_the_seam(api: JsonApi, kit: Tools) -> None:
    """The page overlaps the one before by a row, which has to be the same."""
    fill(api, 35)

    def swap() -> None:
        api.rows.pop("0")
        api.rows["new"] = {"id": "new", "title": "new", "text": "new", "at": NOW}

    api.hook = once(swap, "18")  # type: ignore[assignment]
    entries = list(opened(api, kit, collection("offset")).list())
    assert {f"crm/items/{number}" for number in range(1, 35)} <= set(items(entries))
    assert gaps(entries) == [] and len(api.asked) == 8


def test_a_list_that_never_holds_still_is_a_gap(api: JsonApi, kit: Tools) -> None:
    """After three readings; each item is yielded once all the same, and no mark is given."""
    fill(api, 35)
    numbers = itertools.count(100)

    def hook(asked: Asked) -> None:
        if asked.query.get("page") == "2":
            number = next(numbers)
            api.rows = {str(number): {"id": number, "text": "x", "at": NOW}, **api.rows}

    api.hook = hook  # type: ignore[assignment]
    entries = list(opened(api, kit, collection(changes={"param": "updated_since", "format": "epoch"})).list())
    assert {f"crm/items/{number}" for number in range(35)} <= set(items(entries))
    (gap,) = gaps(entries)
    assert gap.uri_prefix == "crm/items/"
    assert not any(isinstance(each, Mark) for each in entries)


@pytest.mark.parametrize("style", ["page", "offset"])
def test_fewer_than_the_total_is_a_gap(api: JsonApi, kit: Tools, style: str) -> None:
    """A list that is empty although it says that there are some, or that leaves one out."""
    fill(api, 35)
    real = api.listed

    def short(style: str, query: dict[str, str]) -> Answer:
        said = real(style, query)
        said.body["items"] = [row for row in said.body["items"] if row["id"] != 12]
        return said

    api.listed = short  # type: ignore[method-assign]
    assert len(gaps(list(opened(api, kit, collection(style)).list()))) == 1
    api.listed = lambda style, query: Answer({"items": [], "total": 35})  # type: ignore[method-assign]
    entries = list(opened(api, kit, collection(style)).list())
    assert items(entries) == {} and len(gaps(entries)) == 1


def test_an_api_that_gives_the_same_page_for_ever_is_a_gap(api: JsonApi, kit: Tools) -> None:
    """Whatever page is asked for; the number of requests is bounded."""
    fill(api, 10)
    rows = list(api.rows.values())
    api.hook = lambda asked: Answer({"items": rows})
    entries = list(opened(api, kit, collection(total=None)).list())
    assert len(items(entries)) == 10 and len(gaps(entries)) == 1
    assert len(api.asked) == 6
    numbers = itertools.count()
    api.hook = lambda asked: Answer({"items": [], "next": {"after": f"c{next(numbers)}"}, "more": True})
    entries = list(opened(api, kit, collection("cursor")).list())
    assert len(gaps(entries)) == 1 and len(api.asked) < 80


def test_duplicates_of_a_cursor_are_dropped(api: JsonApi, kit: Tools) -> None:
    """Where pages are not counted, a row that comes twice hides no other."""
    fill(api, 35)
    real = api.listed

    def double(style: str, query: dict[str, str]) -> Answer:
        said = real(style, query)
        said.body["items"] = [api.rows["0"], *said.body["items"]]
        return said

    api.listed = double  # type: ignore[method-assign]
    entries = list(opened(api, kit, collection("next")).list())
    assert len(items(entries)) == 35 and gaps(entries) == []


@pytest.mark.parametrize("style", ["next", "link"])
@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:1/items",
        "//evil.example/x",
        "https://u:p@127.0.0.1/",
        "ftp://x/",
        "http://[",
        "file:///etc/passwd",
    ],
)
def test_a_next_link_to_another_place_is_refused(api: JsonApi, kit: Tools, style: str, link: str) -> None:
    """No other origin is asked, with or without our credentials."""
    fill(api, 1)
    rows = list(api.rows.values())
    if style == "next":
        api.hook = lambda asked: Answer({"items": rows, "next": link})
    else:
        api.hook = lambda asked: Answer(rows, headers={"Link": f'<{link}>; rel="next"'})
    with pytest.raises(StopSource, match="another place"):
        list(opened(api, kit, collection(style)).list())
    assert len(api.asked) == 1


@pytest.mark.parametrize("style", ["next", "link", "cursor"])
def test_links_that_lead_in_a_circle_end_with_an_error(api: JsonApi, kit: Tools, style: str) -> None:
    """By address, by header, by cursor."""
    fill(api, 30)
    real = api.listed

    def circle(style: str, query: dict[str, str]) -> Answer:
        said = real(style, query)
        if query.get("after") == "10":
            again = {"after": "10"} if style == "cursor" else f"{api.url}/{style}/items?after=10"
            if style == "link":
                said.headers["Link"] = f"<{again}>; rel=next"
            else:
                said.body["next"] = again
        return said

    api.listed = circle  # type: ignore[method-assign]
    with pytest.raises(StopSource, match="read before"):
        list(opened(api, kit, collection(style)).list())
