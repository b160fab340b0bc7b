"""What the configuration of a `rest` source may say; what it may not is refused with the key and the fix."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.sources.rest import CONNECTOR
from penstock.connectors.sources.rest.auth_options import OAuth2Auth
from penstock.connectors.sources.rest.documents import content, titled
from penstock.connectors.sources.rest.options import Collection, RestOptions
from tests.connectors.sources.rest_bench import collection

EXAMPLES = Path(__file__).parents[3] / "examples" / "sources"
COMMON = {"type", "budget", "network", "metadata", "labels"}


def example(name: str) -> RestOptions:
    ((_, table),) = tomllib.loads((EXAMPLES / f"{name}.toml").read_text("utf-8"))["sources"].items()
    assert table["type"] == "rest"
    return msgspec.convert({key: value for key, value in table.items() if key not in COMMON}, CONNECTOR.options)


@pytest.mark.parametrize("name", ["redmine", "request-tracker", "hubspot"])
def test_the_examples_are_read(name: str) -> None:
    """Each is a whole configuration that could be used as it is."""
    options = example(name)
    assert options.binding().startswith("https://")
    assert options.collections


def test_the_guide_begins_with_something_that_works() -> None:
    """Its first block is a whole source."""
    guide = (EXAMPLES.parents[1] / "docs" / "sources" / "rest.md").read_text("utf-8")
    table = tomllib.loads(guide.split("```toml\n")[1].split("```")[0])["sources"]["tracker"]
    options = msgspec.convert({key: value for key, value in table.items() if key not in COMMON}, CONNECTOR.options)
    issue = {"subject": "Leak", "comments": [{"author": {"name": "Ann"}, "created": 1706702400, "text": "Yes."}]}
    assert made(options.collections[0], {"id": 1, **issue}) == "\nLeak\n\n\nAnn, 2024-01-31T12:00:00Z:\nYes.\n".lstrip(
        "\n"
    )


def test_the_untested_example_says_so() -> None:
    """In its first line."""
    assert (EXAMPLES / "hubspot.toml").read_text("utf-8").startswith("# UNTESTED")


def made(rules: Collection, row: dict[str, Any]) -> str:
    return content(rules, str(row["id"]), row, 1 << 20).decode()


def test_the_redmine_example_makes_a_readable_issue() -> None:
    """Head, description, and the journals that say something."""
    (rules,) = example("redmine").collections
    issue = {
        "id": 7,
        "tracker": {"name": "Bug"},
        "status": {"name": "New"},
        "priority": {"name": "High"},
        "subject": "Pump leaks",
        "description": "Since *Monday*.",
        "custom_fields": [{"name": "Site", "value": "North"}, {"name": "Empty", "value": ""}],
        "journals": [
            {"user": {"name": "Ann"}, "notes": "", "created_on": "2024-01-31T12:00:00Z"},
            {"user": {"name": "Bo"}, "notes": "Fixed.", "created_on": "2024-01-31T13:00:00Z"},
        ],
    }
    assert titled(rules, "7", issue) == "Bug #7: Pump leaks"
    assert made(rules, issue) == (
        "# Pump leaks\n\nBug #7, New, priority High\nSite: North\n\nSince *Monday*.\n"
        "\n## Bo, 2024-01-31T13:00:00Z\n\nFixed.\n"
    )


def test_the_request_tracker_example_makes_a_readable_ticket() -> None:
    """Its conversation is escaped where it is plain text, and taken as it is where it is HTML."""
    (rules,) = example("request-tracker").collections
    ticket = {
        "id": 9,
        "Subject": "a < b",
        "Status": "open",
        "Requestor": [{"id": "ann@example.org"}],
        "CustomFields": [{"name": "Severity", "values": ["high"]}],
        "messages": [
            {"ContentType": "text/plain", "Content": "one\n<two>", "Creator": {"id": "ann"}, "Created": "2024-01-31"},
            {"ContentType": "text/html", "Content": "<b>three</b>", "Creator": {"id": "bo"}, "Created": "2024-02-01"},
        ],
    }
    text = made(rules, ticket)
    for part in ("<h1>a &lt; b</h1>", "ann@example.org", "Severity: high", "one<br>\n&lt;two&gt;", "<b>three</b>"):
        assert part in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "ftp://x"}, "write https://host/path"),
        ({"url": "https://user:pw@host/"}, "use auth and params"),
        ({"url": "https://host/?key=1"}, "use auth and params"),
        ({"url": "https://host:99999/"}, "write https://host/path"),
        ({"collections": []}, "length >= 1"),
        ({"collections": [collection(), collection()]}, 'two collections are called "items"'),
        ({"headers": {"Authorization": "Bearer x"}}, "write auth ="),
        ({"auth": {"kind": "bearer", "token": "plain-secret"}}, "auth.token"),
        ({"auth": {"kind": "magic"}}, "auth.kind"),
        ({"auth": {"kind": "header", "name": "a b", "value": "${KEY}"}}, "auth.name"),
        ({"auth": {"kind": "oauth2", "token_url": "http://sso.example/t", "client_id": "x", "client_secret": "${K}"}},
         "write https://"),
        ({"auth": {"kind": "oauth2", "token_url": "nowhere", "client_id": "x", "client_secret": "${K}"}}, "token_url"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_refused(change: dict[str, Any], said: str) -> None:
    """One line, with the way to write it, and never with a secret."""
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({"url": "https://host", "collections": [collection()], **change}, RestOptions)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert "plain-secret" not in str(error.value) and "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paging": None}, "paging"),
        ({"paging": {"kind": "page", "pages": 1}}, "pages"),
        ({"paging": {"kind": "offset", "size": 1}}, "larger than overlap"),
        ({"paging": {"kind": "cursor", "next": "a..b"}}, "is no path"),
        ({"name": "With Space"}, "name"),
        ({"id": ""}, "id is empty"),
        ({"id": "a b"}, "id: "),
        ({"updated": "[x]"}, "updated: "),
        ({"timezone": "Mars"}, "timezone"),
        ({"body": "{for x in y}"}, "body: {for x in y} has no {end}"),
        ({"title": "{x|loud}"}, "there is no filter loud"),
        ({"detail": "/items/{name}"}, "must begin with / and hold {id}"),
        ({"detail": "{id}"}, "must begin with /"),
        ({"detail": None}, "add detail ="),
        ({"changes": {"param": "q"}, "updated": None}, "add updated ="),
        ({"changes": {"param": "q", "value": "x"}}, "must hold {since}"),
        ({"changes": {"param": "q", "format": "julian"}}, "format = "),
        ({"metadata": {"team": "a..b"}}, "metadata.team"),
        ({"labels": [".."]}, "labels: "),
        ({"version": ["a", "b c"]}, "version: "),
        ({"attachments": {"items": "a", "url": "{"}}, "url: "),
        ({"parts": {"x": {"list": "/y"}}}, "must begin with / and hold {id}"),
        ({"format": "pdf"}, "format"),
    ],
)
def test_a_wrong_collection_is_refused_with_its_place(change: dict[str, Any], said: str) -> None:
    """Which collection, which key, what to write."""
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({"url": "https://host", "collections": [collection(**change)]}, RestOptions)
    assert said in str(error.value) and "collections[0]" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("near", ["http://127.0.0.1/t", "http://[::1]:80/t", "http://10.1.2.3/t", "http://localhost/t"])
def test_a_token_may_come_from_nearby_without_tls(near: str) -> None:
    """From loopback and private addresses, which the network rules must allow as well."""
    auth = {"kind": "oauth2", "token_url": near, "client_id": "x", "client_secret": "${K}"}
    msgspec.convert({"url": "https://host", "collections": [collection()], "auth": auth}, RestOptions)


def test_all_of_an_html_document_is_read() -> None:
    """Also where a message is a whole page of its own, with what looks like the surroundings of a web page."""
    from penstock.connectors.parsers.html import parse

    (rules,) = example("request-tracker").collections
    mail = (
        "<!DOCTYPE html><html><body><header>Dear all,</header><p>"
        + "word " * 80
        + "</p><footer>Ann</footer></body></html>"
    )
    messages = [{"ContentType": "text/html", "Content": mail}, {"ContentType": "text/plain", "Content": "short"}]
    parsed = parse(made(rules, {"id": 1, "Subject": "Grüße", "messages": messages}).encode(), "1.html")
    assert parsed.title == "#1: Grüße"
    for said in ("Grüße", "Dear all,", "word word", "Ann", "short"):
        assert said in parsed.text


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "X-Auth-Token", "private-token", "Cookie", "apikey"])
def test_a_header_for_credentials_is_refused(name: str) -> None:
    """A secret is never written into the file."""
    with pytest.raises(msgspec.ValidationError, match="is for credentials"):
        msgspec.convert(
            {"url": "https://x.example", "collections": [collection("none")], "headers": {name: "abc"}}, RestOptions
        )


@pytest.mark.parametrize("name", ["api_key", "access_token", "client_secret", "password"])
def test_a_parameter_for_credentials_is_refused(name: str) -> None:
    """Also among those of a token request, where a reference may stand."""
    with pytest.raises(msgspec.ValidationError, match="is for credentials"):
        msgspec.convert({**collection("none"), "params": {name: "abc"}}, Collection)
    auth = {"token_url": "https://x.example/t", "client_id": "us", "client_secret": "${S}"}
    with pytest.raises(msgspec.ValidationError, match="is a secret"):
        msgspec.convert({**auth, "kind": "oauth2", "params": {name: "abc"}}, OAuth2Auth)
    params = {name: "${OTHER}", "audience": "x"}
    assert msgspec.convert({**auth, "kind": "oauth2", "params": params}, OAuth2Auth)
