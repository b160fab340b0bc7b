"""Listing by the `rest` connector: every way of paging, versions, pages that are bad."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.types import (
    RetryLater,
    StopSource,
)
from tests.connectors.sources.rest_bench import (
    collection,
    fill,
    gaps,
    handed,
    items,
    opened,
    pages_asked,
)
from tests.fakes.json_api import Answer, Asked, JsonApi

STYLES = ("page", "offset", "cursor", "next", "link", "none")


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        api.size = 10
        yield api


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return handed(tmp_path)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", [0, 1, 10, 35])
def test_every_style_lists_everything_once(api: JsonApi, kit: Tools, style: str, count: int) -> None:
    """Also nothing, one page that is full, and a last page that is not."""
    fill(api, count)
    entries = list(opened(api, kit, collection(style)).list())
    assert set(items(entries)) == {f"crm/items/{number}" for number in range(count)}
    assert gaps(entries) == []


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_server_that_gives_less_than_asked_for_is_read_to_its_end(api: JsonApi, kit: Tools, style: str) -> None:
    """A short page is not the last one, with a total and without."""
    fill(api, 35)
    api.size = 4
    for more in ({}, {"total": None}):
        assert len(items(list(opened(api, kit, collection(style, **more)).list()))) == 35


def test_without_version_and_date_a_digest_of_the_object_is_the_version(api: JsonApi, kit: Tools) -> None:
    """It changes with any member, and only then."""
    fill(api, 2)
    source = opened(api, kit, collection(updated=None))
    before = items(list(source.list()))
    api.rows["1"]["other"] = "changed"
    after = items(list(source.list()))
    assert before["crm/items/0"] == after["crm/items/0"]
    assert before["crm/items/1"].version != after["crm/items/1"].version


def test_several_paths_make_one_version(api: JsonApi, kit: Tools) -> None:
    """For APIs that do not date everything that counts."""
    fill(api, 1)
    source = opened(api, kit, collection(version=["at", "private"]))
    before = items(list(source.list()))["crm/items/0"].version
    api.rows["0"]["private"] = True
    assert items(list(source.list()))["crm/items/0"].version != before


def test_a_changed_template_makes_every_document_anew(api: JsonApi, kit: Tools) -> None:
    """What documents are made of is part of their versions; how they are listed is not."""
    fill(api, 1)
    versions = [
        items(list(opened(api, kit, each).list()))["crm/items/0"].version
        for each in (collection(), collection("next"), collection(body="{title}: {text}"))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_an_object_without_id_is_a_gap_and_not_forgotten(api: JsonApi, kit: Tools) -> None:
    """All others are listed; nothing of the collection is deleted."""
    fill(api, 15)
    api.rows["3"]["id"] = None
    api.rows["4"]["id"] = {"deep": []}
    entries = list(opened(api, kit).list())
    assert len(items(entries)) == 13
    (gap,) = gaps(entries)
    assert gap.uri_prefix == "crm/items/" and "2 listed objects" in gap.reason


def test_a_bad_page_is_asked_for_again_and_not_the_whole_list(api: JsonApi, kit: Tools) -> None:
    """Errors, garbage, an error with status 200: page three is repeated, the first is asked for once."""
    fill(api, 45)
    bad = [Answer({}, 500), Answer(b"<html>"), Answer({"error": "busy", "items": []}), Answer({"thing": 1})]

    def hook(asked: Asked) -> Answer | None:
        return (
            bad.pop()
            if asked.query.get("page") in ("3", "4") and bad and (len(bad) > 2 or asked.query["page"] == "4")
            else None
        )

    api.hook = hook
    entries = list(opened(api, kit, collection(error="error")).list())
    assert len(items(entries)) == 45 and gaps(entries) == []
    assert [query["page"] for _, query in pages_asked(api)] == ["1", "2", "3", "3", "3", "4", "4", "4", "5"]


def test_a_page_that_stays_bad_is_a_gap_after_what_came(api: JsonApi, kit: Tools) -> None:
    """The other collections are listed as ever; with nothing at all it is an error."""
    fill(api, 25)
    api.hook = lambda asked: Answer({}, 500) if asked.path == "/page/items" and asked.query["page"] == "2" else None
    source = opened(api, kit, collection(), collection("next", name="others"))
    entries = list(source.list())
    assert len([uri for uri in items(entries) if uri.startswith("crm/items/")]) == 10
    assert len([uri for uri in items(entries) if uri.startswith("crm/others/")]) == 25
    assert [gap.uri_prefix for gap in gaps(entries)] == ["crm/items/"]
    api.hook = lambda asked: Answer({}, 500)
    with pytest.raises(RetryLater):
        list(source.list())


def test_a_later_page_that_is_not_there_is_a_gap(api: JsonApi, kit: Tools) -> None:
    """Some APIs end their lists so, and so does one whose proxy has lost its way: nothing is deleted by that."""
    fill(api, 15)
    api.hook = lambda asked: Answer({}, 404) if asked.query.get("page") == "3" else None
    entries = list(opened(api, kit, collection(total=None)).list())
    assert len(items(entries)) == 15
    assert ["404" in gap.reason and "total" in gap.reason for gap in gaps(entries)] == [True]


def test_a_list_that_is_not_where_it_should_be_says_what_there_is(api: JsonApi, kit: Tools) -> None:
    """A wrong `items`, and a wrong `list`, name the key to mend."""
    with pytest.raises(RetryLater, match=r'items = "rows".*there is: items, total'):
        list(opened(api, kit, collection(items="rows")).list())
    with pytest.raises(StopSource, match="check url, and list"):
        list(opened(api, kit, collection(list="/nowhere")).list())
    with pytest.raises(RetryLater, match="total"):
        list(opened(api, kit, collection(total="count")).list())
