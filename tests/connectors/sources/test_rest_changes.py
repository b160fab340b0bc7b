"""The changes feed of the `rest` connector: nothing that changed after a mark is missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.types import (
    CursorExpired,
    Gone,
    Incremental,
    Mark,
)
from tests.connectors.sources.rest_bench import (
    FILES,
    NOW,
    attach,
    collection,
    fill,
    handed,
    items,
    opened,
    pages_asked,
)
from tests.fakes.json_api import JsonApi


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        api.size = 10
        yield api


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return handed(tmp_path)


SINCE = {"param": "updated_since", "format": "epoch", "overlap": 60}


def test_the_feed_asks_for_what_changed_since_the_mark_less_the_overlap(api: JsonApi, kit: Tools) -> None:
    """By the source's own dates; the mark moves on with them and never back."""
    fill(api, 200)
    source = opened(api, kit, collection(changes=SINCE))
    assert isinstance(source, Incremental)
    (mark,) = [each for each in source.list() if isinstance(each, Mark)]
    api.rows["5"] |= {"at": NOW + 500, "text": "changed"}
    entries = list(source.changes(mark.cursor))
    assert set(items(entries)) == {f"crm/items/{number}" for number in [5, *range(139, 200)]}
    assert isinstance(entries[-1], Mark)
    assert float(pages_asked(api)[-1][1]["updated_since"]) == NOW + 199 - 60
    assert set(items(list(source.changes(entries[-1].cursor)))) == {"crm/items/5"}
    api.rows.clear()
    (same,) = source.changes(entries[-1].cursor)
    assert same == entries[-1]


def test_a_listing_that_takes_long_gives_a_mark_from_its_beginning(api: JsonApi, kit: Tools) -> None:
    """The time it took is taken off, whatever the source's clock says; dates of the far future do not count."""
    fill(api, 20)
    api.rows["3"]["at"] = NOW * 2
    times = iter([NOW + 1000.0 + 10 * number for number in range(1000)])
    source = opened(api, replace(kit, clock=lambda: next(times)), collection(changes=SINCE))
    (mark,) = [each for each in source.list() if isinstance(each, Mark)]
    ((_, since),) = json.loads(mark.cursor).values()
    assert since <= NOW + 19 - 60 - 100


def test_what_is_marked_as_deleted_is_gone_with_its_attachments(api: JsonApi, kit: Tools) -> None:
    """In the feed; a full listing just lacks it."""
    fill(api, 3)
    attach(api, 1, {"id": 5, "name": "f", "link": "/files/f"})
    source = opened(api, kit, collection(changes=SINCE, deleted="gone", attachments=FILES))
    (mark,) = [each for each in source.list() if isinstance(each, Mark)]
    api.rows["1"]["gone"] = True
    gone = {each.uri for each in source.changes(mark.cursor) if isinstance(each, Gone)}
    assert gone == {"crm/items/1", "crm/items/1/attachments/5-f"}
    assert set(items(list(source.list()))) == {"crm/items/0", "crm/items/2"}


def test_a_cursor_of_another_configuration_is_expired(api: JsonApi, kit: Tools) -> None:
    """Another query, another collection, another text: list everything. Without `changes` there is no feed."""
    fill(api, 1)
    (mark,) = [each for each in opened(api, kit, collection(changes=SINCE)).list() if isinstance(each, Mark)]
    for other in (collection(changes=SINCE, params={"all": 1}), collection(changes=SINCE, name="others")):
        with pytest.raises(CursorExpired):
            list(opened(api, kit, other).changes(mark.cursor))
    for cursor in ("", "{}", "[]", '{"items": 1}', '{"items": ["x", 1e300]}', "[" * 10_000):
        with pytest.raises(CursorExpired):
            list(opened(api, kit, collection(changes=SINCE)).changes(cursor))
    assert not isinstance(opened(api, kit), Incremental)


def test_collections_without_a_feed_are_listed_beside_it(api: JsonApi, kit: Tools) -> None:
    """So that nothing that changed is overlooked until the next full listing."""
    fill(api, 3)
    source = opened(api, kit, collection(changes=SINCE), collection("none", name="others"))
    (mark,) = [each for each in source.list() if isinstance(each, Mark)]
    api.rows["0"]["at"] = NOW + 900
    found = set(items(list(source.changes(mark.cursor))))
    assert {"crm/items/0", "crm/others/0", "crm/others/1", "crm/others/2"} <= found
