"""Credentials of the `rest` connector: sent where they belong, seen nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.connector import Tools
from penstock.connectors.sources.rest import CONNECTOR
from penstock.connectors.types import (
    Item,
    RetryLater,
    StopSource,
)
from tests.connectors.sources.rest_bench import (
    NOW,
    SECRET,
    collection,
    fill,
    handed,
    items,
    opened,
    pages_asked,
)
from tests.fakes.json_api import Answer, Asked, JsonApi, basic


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi().serving() as api:
        api.size = 10
        yield api


@pytest.fixture
def kit(tmp_path: Path) -> Tools:
    return handed(tmp_path)


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({"kind": "bearer", "token": "${KEY}"}, f"Bearer {SECRET}"),
        ({"kind": "header", "name": "Authorization", "prefix": "token ", "value": "${KEY}"}, f"token {SECRET}"),
        ({"kind": "basic", "user": "ann", "password": "${KEY}"}, basic("ann", SECRET)),
        ({"kind": "basic", "user": "${WHO}", "password": "${KEY}"}, basic("ann", SECRET)),
    ],
)
def test_credentials_go_with_every_request(api: JsonApi, kit: Tools, auth: dict[str, str], sent: str) -> None:
    """In their header, and nowhere that people look."""
    fill(api, 15)
    api.allowed = {sent}
    options = {"url": api.url, "collections": [collection()], "auth": auth}
    assert SECRET not in repr(msgspec.convert(options, CONNECTOR.options))
    source = opened(api, kit, auth=auth)
    entries = list(source.list())
    assert len(items(entries)) == 15
    got = source.fetch(items(entries)["crm/items/0"])
    assert SECRET not in repr(entries) + repr(got) + repr(source) + str(vars(source))
    api.allowed = set()
    with pytest.raises(StopSource) as error:
        list(source.list())
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_that_is_not_known_stops_the_source_where_it_would_only_see_less(
    api: JsonApi, kit: Tools, status: int
) -> None:
    """Lists are answered with what is public; only `whoami` tells, before the listing and after it."""
    fill(api, 15)
    known = [True]

    def hook(asked: Asked) -> Answer | None:
        return None if asked.path != "/me" else Answer({"id": 7}) if known[0] else Answer({}, status)

    api.hook = hook
    source = opened(api, kit, auth={"kind": "bearer", "token": "${KEY}"}, whoami="/me")
    entries = list(source.list())
    assert len(items(entries)) == 15 and [asked.path for asked in api.asked].count("/me") == 2
    listing = source.list()
    next(listing)
    known[0] = False
    with pytest.raises(StopSource):
        list(listing)
    asked = len(pages_asked(api))
    with pytest.raises(StopSource):
        list(source.list())
    assert len(pages_asked(api)) == asked


def test_a_key_in_the_query_is_in_no_message(api: JsonApi, kit: Tools) -> None:
    """It is added to every address of ours, to next links too, where it replaces one that the server echoes."""
    fill(api, 25)
    auth = {"kind": "query", "param": "key", "value": "${KEY}"}
    source = opened(api, kit, collection("next"), auth=auth)
    entries = list(source.list())
    assert len(items(entries)) == 25
    assert [asked.query.get("key") for asked in api.asked] == [SECRET] * 3
    assert all("s3cr3t" not in item.locator for item in items(entries).values())
    api.rows.clear()
    with pytest.raises(FileNotFoundError) as error:
        source.fetch(items(entries)["crm/items/0"])
    said = f"{error.value} {error.value.__cause__} {error.value.__context__}"
    assert "s3cr3t" not in said and "/items/0" in said


def test_a_secret_that_is_not_set_stops_the_source_by_its_name(api: JsonApi, kit: Tools) -> None:
    """At the first request, not when it is opened."""
    source = opened(api, kit, auth={"kind": "bearer", "token": "${MISSING}"})
    with pytest.raises(StopSource, match="MISSING"):
        list(source.list())
    assert api.asked == []


def oauth2(api: JsonApi, **more: Any) -> dict[str, Any]:
    return {"kind": "oauth2", "token_url": f"{api.url}/token", "client_id": "us", "client_secret": "${KEY}", **more}


def test_an_oauth2_token_is_fetched_once_and_renewed_before_it_ends(api: JsonApi, kit: Tools) -> None:
    """By client credentials; a minute before its hour is over there is a new one."""
    fill(api, 15)
    now = [NOW + 1000.0]
    source = opened(api, replace(kit, clock=lambda: now[0]), auth=oauth2(api, scope="read", params={"audience": "x"}))
    assert len(items(list(source.list()))) == len(items(list(source.list()))) == 15
    assert api.granted == 1
    grant = next(asked for asked in api.asked if asked.path == "/token")
    assert grant.form == {
        "grant_type": "client_credentials", "scope": "read", "audience": "x",
        "client_id": "us", "client_secret": SECRET,
    }  # fmt: skip
    assert "authorization" not in grant.headers
    now[0] += 3600 - 59
    list(source.list())
    assert api.granted == 2


def test_a_token_that_is_refused_is_renewed(api: JsonApi, kit: Tools) -> None:
    """In the middle of a listing, without beginning again."""
    fill(api, 25)
    source = opened(api, kit, auth=oauth2(api, client="basic"))
    listing = source.list()
    next(listing)
    with api.lock:
        api.allowed = set()
    assert len([each for each in listing if isinstance(each, Item)]) == 24
    assert api.granted == 2
    assert [query["page"] for _, query in pages_asked(api)] == ["1", "2", "2", "3"]
    assert api.asked[0].headers["authorization"] == basic("us", SECRET) and "client_secret" not in api.asked[0].form


def test_a_refresh_token_that_is_exchanged_is_kept_for_the_run(api: JsonApi, kit: Tools) -> None:
    """And people are told once that the configured one may be no good any more."""
    notes: list[str] = []
    forms: list[dict[str, str]] = []

    def hook(asked: Asked) -> Answer | None:
        if asked.path != "/token":
            return None
        forms.append(asked.form)
        return Answer({"access_token": f"t{len(forms)}", "expires_in": "1", "refresh_token": f"rotated-{len(forms)}"})

    api.hook = hook
    now = [NOW + 1000.0]
    auth = oauth2(api, refresh_token="${WHO}")
    source = opened(api, replace(kit, clock=lambda: now[0], note=notes.append), auth=auth)
    for _ in range(3):
        list(source.list())
        now[0] += 10
    assert [form["refresh_token"] for form in forms] == ["ann", "rotated-1", "rotated-2"]
    assert len(notes) == 1 and "rotated" not in notes[0]


def test_a_client_that_is_refused_stops_the_source(api: JsonApi, kit: Tools) -> None:
    """The message has the server's word for it, if it is one, and what to check; an empty grant is asked again."""
    api.hook = lambda asked: Answer({"error": "invalid_client"}, 401)
    with pytest.raises(StopSource, match=r"\(invalid_client\): check client_id"):
        list(opened(api, kit, auth=oauth2(api)).list())
    api.hook = lambda asked: Answer({"error": f"no {SECRET}"}, 400)
    with pytest.raises(StopSource) as error:
        list(opened(api, kit, auth=oauth2(api)).list())
    assert SECRET not in str(error.value)
    api.hook = lambda asked: Answer({"token": "x"})
    with pytest.raises(RetryLater, match="access_token"):
        list(opened(api, kit, auth=oauth2(api)).list())


def test_a_secret_among_the_parameters_of_a_token_is_named_like_any_other(api: JsonApi, kit: Tools) -> None:
    """Some servers want one more, such as an assertion."""
    auth = oauth2(api, params={"client_assertion": "${WHO}", "audience": "x"})
    list(opened(api, kit, auth=auth).list())
    (asked,) = [each for each in api.asked if each.path == "/token"]
    assert (asked.form["client_assertion"], asked.form["audience"]) == ("ann", "x")
