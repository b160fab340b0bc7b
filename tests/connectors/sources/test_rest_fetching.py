"""Documents by the `rest` connector: from a detail, from parts, from what the listing carried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.types import (
    Item,
    RejectItem,
    RetryLater,
)
from tests.connectors.sources.rest_bench import (
    NOW,
    collection,
    fill,
    gaps,
    handed,
    items,
    opened,
    text,
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


def test_a_document_is_made_of_its_detail(api: JsonApi, kit: Tools) -> None:
    """Text by the template, title, address, metadata, labels; the same again the next time."""
    fill(api, 1)
    api.rows["0"] |= {"who": ["staff", "admins"], "team": {"name": "ops"}, "notes": [{"by": "Bo", "text": "a < b"}]}
    rules = collection(
        format="html",
        body="<h1>{title}</h1>\n{for note in notes}<p>{note.by}: {note.text}</p>\n{end}",
        url="https://crm.example/items/{id}",
        metadata={"team": "team.name", "missing": "x.y"},
        labels=["who", "also"],
    )
    source = opened(api, kit, rules)
    (item,) = items(list(source.list())).values()
    one, two = source.fetch(item), source.fetch(item)
    assert one.path != two.path and one.temporary and one.path.is_relative_to(kit.scratch)
    assert (one.name, one.title, one.url) == ("0.html", "title 0", "https://crm.example/items/0")
    assert (one.metadata, one.labels, one.version) == ({"team": "ops"}, ("admins", "staff"), item.version)
    written = text(one)
    assert "<p>Bo: a &lt; b</p>" in written and "<title>title 0</title>" in written
    assert text(two) == written


def test_a_document_without_any_place_for_labels_is_not_let_in(api: JsonApi, kit: Tools) -> None:
    """It would be open to everybody; an empty list is an answer, and no answer is none."""
    fill(api, 2)
    api.rows["1"]["who"] = []
    source = opened(api, kit, collection(labels=["who"]))
    found = items(list(source.list()))
    with pytest.raises(RetryLater, match="labels"):
        source.fetch(found["crm/items/0"])
    assert source.fetch(found["crm/items/1"]).labels == ()


def test_parts_of_a_document_are_asked_for_and_read_to_their_end(api: JsonApi, kit: Tools) -> None:
    """A history of several pages, below a name of its own."""
    fill(api, 1)
    notes = [{"n": number} for number in range(25)]

    def hook(asked: Asked) -> Answer | None:
        if asked.path != "/items/0/notes":
            return None
        start = (int(asked.query["page"]) - 1) * 10
        return Answer({"rows": notes[start : start + 10], "kind": asked.query["kind"]})

    api.hook = hook
    part = {"list": "/items/{id}/notes", "items": "rows", "params": {"kind": "x"}}
    source = opened(api, kit, collection(parts={"notes": part}, body="{for n in notes}{n.n} {end}"))
    (item,) = items(list(source.list())).values()
    assert text(source.fetch(item)) == " ".join(map(str, range(25))) + " "
    once = {**part, "params": {"kind": "x", "page": 1}, "paging": {"kind": "none"}}
    source = opened(api, kit, collection(parts={"notes": once}, body="{for n in notes}{n.n} {end}"))
    assert text(source.fetch(item)) == " ".join(map(str, range(10))) + " "


def test_a_part_without_end_is_too_large(api: JsonApi, kit: Tools) -> None:
    """Pages of a document are bounded by its size, and by number."""
    fill(api, 1)

    def hook(asked: Asked) -> Answer | None:
        return Answer([{"text": f"{asked.query['page']:>2000}"}]) if asked.path.endswith("/notes") else None

    api.hook = hook
    rules = collection(parts={"notes": {"list": "/items/{id}/notes"}})
    source = opened(api, replace(kit, max_bytes=50_000), rules)
    (item,) = items(list(source.list())).values()
    with pytest.raises(RejectItem) as error:
        source.fetch(item)
    assert error.value.reason == "too_large" and len(api.asked) < 40


def test_what_the_listing_carried_is_not_asked_for_again(api: JsonApi, kit: Tools) -> None:
    """Without a detail the listed object is the document; what another run listed is found by listing again."""
    fill(api, 35)
    rules = collection("next", detail=None, object=None)
    source = opened(api, kit, rules)
    found = items(list(source.list()))
    asked = len(api.asked)
    assert [text(source.fetch(item)) for item in found.values()] == [f"text {number}" for number in range(35)]
    assert len(api.asked) == asked
    assert list(kit.scratch.iterdir()) == []
    other = opened(api, kit, rules)
    assert text(other.fetch(found["crm/items/34"])) == "text 34"
    assert text(other.fetch(found["crm/items/0"])) == "text 0"
    assert len(api.asked) == asked + 4
    api.rows.pop("7")
    with pytest.raises(FileNotFoundError):
        opened(api, kit, rules).fetch(found["crm/items/7"])


def test_a_shelf_that_is_full_is_filled_again_from_where_fetching_is(
    api: JsonApi, kit: Tools, monkeypatch: Any
) -> None:
    """Disk is bounded; a few more listings are the price, and not one for each object."""
    fill(api, 40)
    monkeypatch.setattr("penstock.connectors.sources.rest.shelf._LIMIT", 1000)
    monkeypatch.setattr("penstock.connectors.sources.rest.shelf.Shelf.__init__.__defaults__", (1000,))
    source = opened(api, kit, collection("none", detail=None, object=None))
    found = items(list(source.list()))
    assert [text(source.fetch(item)) for item in found.values()] == [f"text {number}" for number in range(40)]
    assert 2 < len(api.asked) < 12


def test_a_detail_that_tells_dates_more_exactly_keeps_the_listed_version(api: JsonApi, kit: Tools) -> None:
    """Else it would look changed for ever; one that tells them alike and later has the later version."""
    fill(api, 1)
    source = opened(api, kit)
    (item,) = items(list(source.list())).values()
    api.hook = lambda asked: (
        Answer({"item": {**api.rows["0"], "at": NOW * 1000 + 5}}) if asked.path == "/items/0" else None
    )
    assert source.fetch(item).version == item.version
    api.hook = lambda asked: Answer({"item": {**api.rows["0"], "at": NOW + 5}}) if asked.path == "/items/0" else None
    later = source.fetch(item).version
    api.hook = lambda asked: None
    api.rows["0"]["at"] = NOW + 5
    assert later == items(list(source.list()))["crm/items/0"].version != item.version


def test_hostile_ids_stay_below_their_collection(api: JsonApi, kit: Tools) -> None:
    """Each has its own uri, file and answer; `..`, which would lead out of the address, is a gap."""
    names = ["a/b", "../x", "ü", "a b?c#d", "%2e", "..", "\ud800", "x" * 2000, "new\nline", "C:\\x"]
    for name in names:
        api.rows[name] = {"id": name, "text": f"text of {name!r}", "at": NOW}
    source = opened(api, kit, collection("none"))
    entries = list(source.list())
    found = items(entries)
    assert len(found) + len(gaps(entries)) == len(names)
    assert len(gaps(entries)) == 2
    for item in found.values():
        assert item.uri.startswith("crm/items/") and item.uri.count("/") == 2 and item.uri.isascii()
        try:
            got = source.fetch(item)
        except FileNotFoundError:
            assert "%3F" in item.uri  # the lone surrogate is another character by the time it is asked for
            continue
        assert "/" not in got.name and got.path.parent == kit.scratch
        assert text(got).startswith("text of")


def test_a_document_that_is_gone_or_marked_as_deleted_is_missing(api: JsonApi, kit: Tools) -> None:
    """Both are `FileNotFoundError`; a collection that left the configuration is, too."""
    fill(api, 2)
    source = opened(api, kit, collection(deleted="gone"))
    one, two = items(list(source.list())).values()
    del api.rows["0"]
    api.rows["1"]["gone"] = "2024-01-01"
    for item in (one, two):
        with pytest.raises(FileNotFoundError):
            source.fetch(item)
    assert items(list(source.list())) == {}
    with pytest.raises(FileNotFoundError):
        opened(api, kit, collection(name="other")).fetch(one)
    with pytest.raises(RetryLater):
        source.fetch(replace_locator(one, "from another make"))


def replace_locator(item: Item, locator: str) -> Item:
    return msgspec.structs.replace(item, locator=locator)


def test_a_detail_of_another_shape_is_asked_for_again(api: JsonApi, kit: Tools) -> None:
    """And fails by that, with the key to mend; too large a text is rejected, and nothing is left behind."""
    fill(api, 1)
    source = opened(api, kit, collection(object="thing"))
    (item,) = items(list(source.list())).values()
    with pytest.raises(RetryLater, match='object = "thing"'):
        source.fetch(item)
    small = opened(api, replace(kit, max_bytes=3), collection())
    with pytest.raises(RejectItem) as error:
        small.fetch(item)
    assert error.value.reason == "too_large"
    assert list(kit.scratch.iterdir()) == []


def test_deep_json_is_garbled_and_not_a_crash(api: JsonApi, kit: Tools) -> None:
    """Nested beyond what can be read."""
    api.hook = lambda asked: Answer(b'{"items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(RetryLater):
        list(opened(api, kit).list())


def test_a_date_in_whole_seconds_that_is_now_is_looked_at_once_more(api: JsonApi, kit: Tools) -> None:
    """A second change in that second would leave the same date. Now is what the API's own clock says, skewed or not."""
    fill(api, 3)
    api.rows["1"]["at"] = NOW + 0.25
    api.rows["2"]["at"] = NOW - NOW % 86_400  # the day of NOW
    ahead = [1.0]

    def hook(asked: Asked) -> Answer | None:
        number = asked.path.removeprefix("/items/")
        sent = {"Date": formatdate(NOW + ahead[0], usegmt=True)}
        return Answer({"item": api.rows[number]}, headers=sent) if number.isdigit() else None

    api.hook = hook
    source = opened(api, kit)
    listed = items(list(source.list()))
    fetched = {uri: source.fetch(item).version for uri, item in listed.items()}
    again = {uri for uri, item in listed.items() if fetched[uri] != item.version}
    assert again == {"crm/items/0", "crm/items/2"}
    ahead[0] = 90_000.0
    assert {uri: source.fetch(item).version for uri, item in listed.items()} == {
        uri: item.version for uri, item in listed.items()
    }
