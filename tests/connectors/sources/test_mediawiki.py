"""What is particular to wikis: moves, redirects, imports, templates, and errors inside answers that are 200."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.connectors.parsers import html
from penstock.connectors.parsing.sniff import kind_of
from penstock.connectors.sources.mediawiki import MediaWikiOptions
from penstock.connectors.sources.mediawiki_login import pairs
from penstock.connectors.sources.seen_ids import SeenIds
from penstock.connectors.types import CursorExpired, Fetched, Gap, Gone, Item, Mark, RejectItem, RetryLater, StopSource
from tests.connectors.sources.wiki import WikiBench
from tests.fakes.mediawiki import FakeWiki


@pytest.fixture
def wiki() -> Iterator[FakeWiki]:
    with FakeWiki() as running:
        yield running


@pytest.fixture
def bench(wiki: FakeWiki, tmp_path: Path) -> WikiBench:
    made = WikiBench(tmp_path, wiki, "html")
    del made.options["token"]
    return made


def listed(bench: WikiBench) -> dict[str, Item]:
    return {each.locator: each for each in bench.open().list() if isinstance(each, Item)}


def mark(bench: WikiBench) -> str:
    """A moment after all that was done before."""
    bench.wiki.now += 1
    (found,) = [each.cursor for each in bench.open().list() if isinstance(each, Mark)]
    return found


def changes(bench: WikiBench, cursor: str) -> tuple[set[str], set[str]]:
    """Uris of what the feed lists, and of what it says is gone."""
    bench.options["overlap"] = 0
    entries: list[Any] = list(bench.open().changes(cursor))  # type: ignore[attr-defined]
    return tuple({each.uri for each in entries if isinstance(each, kind)} for kind in (Item, Gone))  # type: ignore[return-value]


def fetched(bench: WikiBench, item: Item) -> Fetched:
    return bench.fetched(bench.open(), item)[1]


def test_a_moved_page_keeps_its_uri_and_its_text(bench: WikiBench, wiki: FakeWiki) -> None:
    """Its title changes and with it its version, and no word of its text: nothing is embedded again."""
    number = str(wiki.edit("Old name", "text").number)
    before = listed(bench)[number]
    old = bench.open().fetch(before)
    wiki.move("Old name", "New name")
    after = listed(bench)
    assert list(after) == [number] and after[number].version != before.version
    new = bench.open().fetch(after[number])
    assert (old.title, new.title) == ("Old name", "New name")
    one, two = (html.parse(got.path.read_bytes(), got.name) for got in (old, new))
    assert (one.text, one.title, two.title) == (two.text, "Old name", "New name")
    assert new.url.endswith("/wiki/New_name")


def test_a_page_that_moves_past_the_listing_is_listed(bench: WikiBench, wiki: FakeWiki) -> None:
    """From behind the place where the listing is to before it, and the other way round: each page once."""
    for number in range(30):
        wiki.edit(f"Page {number:02}", "text")
    listing = bench.open().list()
    entries = [next(listing) for _ in range(5)]
    wiki.move("Page 29", "A page", leave=False)
    wiki.move("Page 00", "Z page", leave=False)
    wiki.delete("Page 28")
    entries += listing
    uris = [each.uri for each in entries if isinstance(each, Item)]
    assert len(uris) == len(set(uris)) == 29


def test_redirects_are_no_documents(bench: WikiBench, wiki: FakeWiki) -> None:
    """Neither those of the listing nor a page that became one since."""
    page = wiki.edit("Page", "text")
    wiki.redirect("Short", "Page")
    (item,) = listed(bench).values()
    cursor = mark(bench)
    wiki.redirect("Page", "Elsewhere")
    assert listed(bench) == {}
    assert changes(bench, cursor) == (set(), {f"notes/{page.number}"})
    with pytest.raises(FileNotFoundError):
        bench.open().fetch(item)


def test_a_page_that_leaves_the_namespaces_is_gone_and_one_that_comes_is_new(bench: WikiBench, wiki: FakeWiki) -> None:
    """Whatever namespace the move is logged under."""
    going, coming = wiki.edit("Page", "text"), wiki.edit("User:Draft", "text")
    (item,) = listed(bench).values()
    cursor = mark(bench)
    wiki.move("Page", "User:Page", leave=False)
    wiki.move("User:Draft", "Draft", leave=False)
    assert changes(bench, cursor) == ({f"notes/{coming.number}"}, {f"notes/{going.number}"})
    with pytest.raises(FileNotFoundError):
        bench.open().fetch(item)


def test_pages_of_other_namespaces_are_not_even_looked_at(bench: WikiBench, wiki: FakeWiki) -> None:
    """However busy their talk is."""
    cursor = mark(bench)
    for number in range(30):
        wiki.edit(f"Talk:Page {number}", "text")
    wiki.delete("Talk:Page 3")
    assert changes(bench, cursor) == (set(), set())
    assert not any("pageids" in asked for asked in wiki.requests)


def test_a_page_without_a_revision_is_a_gap(bench: WikiBench, wiki: FakeWiki) -> None:
    """A broken row of the wiki's database hides no other page."""
    wiki.edit("Good", "text")
    broken = wiki.edit("Broken", "text")
    broken.revision = 0
    entries = list(bench.open().list())
    assert [each.uri_prefix for each in entries if isinstance(each, Gap)] == [f"notes/{broken.number}"]
    assert len([each for each in entries if isinstance(each, Item)]) == 1


def test_deleted_restored_and_protected_pages_are_in_the_feed(bench: WikiBench, wiki: FakeWiki) -> None:
    """A deletion takes a page out of the recent changes, and stands in the log."""
    one, two, three = (wiki.edit(title, "text") for title in ("One", "Two", "Three"))
    cursor = mark(bench)
    wiki.delete("One")
    wiki.delete("Two")
    wiki.restore("Two")
    wiki.protect("Three")
    items, gone = changes(bench, cursor)
    assert items == {f"notes/{two.number}", f"notes/{three.number}"}
    assert gone == {f"notes/{one.number}"}


def test_what_a_script_imports_is_found_by_the_listing_alone(bench: WikiBench, wiki: FakeWiki) -> None:
    """What is imported on the wiki's own page is logged, and in the feed."""
    wiki.edit("Page", "text")
    cursor = mark(bench)
    silent, logged = wiki.import_page("Silent", "text"), wiki.import_page("Logged", "text", logged=True)
    assert changes(bench, cursor) == ({f"notes/{logged.number}"}, set())
    assert str(silent.number) in listed(bench)


@pytest.mark.parametrize(("option", "differs"), [(True, True), (False, False)])
def test_a_templates_edit_changes_the_version_of_pages_that_use_it(
    bench: WikiBench, wiki: FakeWiki, option: bool, differs: bool
) -> None:
    """Unless that is not wanted."""
    bench.options["templates"] = option
    number = str(wiki.edit("Page", "text").number)
    before = listed(bench)[number].version
    wiki.touch("Page")
    assert (listed(bench)[number].version != before) is differs


def test_a_mark_is_good_while_the_wiki_remembers(bench: WikiBench, wiki: FakeWiki) -> None:
    """Nobody edits for months: a mark of yesterday is good all the same, one that may lie before it all is not."""
    wiki.edit("Page", "text")
    cursor = mark(bench)
    wiki.forget(80_000)
    assert changes(bench, cursor) == (set(), set())
    wiki.forget(80_000)
    with pytest.raises(CursorExpired):
        changes(bench, cursor)


@pytest.mark.parametrize("change", [{"namespaces": [0, 2]}, {"content": "wikitext"}])
def test_a_mark_of_another_configuration_is_expired(bench: WikiBench, wiki: FakeWiki, change: dict[str, Any]) -> None:
    """What came into view with it changed on no day."""
    wiki.edit("Page", "text")
    cursor = mark(bench)
    bench.options.update(change)
    with pytest.raises(CursorExpired):
        changes(bench, cursor)


def test_a_page_that_did_not_change_costs_one_request(bench: WikiBench, wiki: FakeWiki) -> None:
    """Two for one that was edited since it was listed, and one more for the address of the wiki, once."""
    wiki.edit("Page", "text")
    source = bench.open()
    (item,) = [each for each in source.list() if isinstance(each, Item)]
    for requests in (1, 1):
        before = len(wiki.requests)
        bench.fetched(source, item)
        assert len(wiki.requests) - before == requests
    wiki.edit("Page", "new text")
    before = len(wiki.requests)
    text, got = bench.fetched(source, item)
    assert len(wiki.requests) - before == 3
    assert text == "new text" and got.version == listed(bench)[item.locator].version


def test_what_people_see_comes_without_what_the_parser_notes(bench: WikiBench, wiki: FakeWiki) -> None:
    """The same bytes each time; categories without the hidden ones."""
    wiki.edit("Page", "text <b>", categories=["Two words", "A"])
    (item,) = listed(bench).values()
    one, two = bench.open().fetch(item), bench.open().fetch(item)
    assert one.path.read_bytes() == two.path.read_bytes()
    assert b"<!--" not in one.path.read_bytes() and b"&lt;b&gt;" in one.path.read_bytes()
    assert one.metadata["categories"] == "A | Two words"
    assert one.metadata["title"] == one.title == "Page"


def test_all_of_a_rendered_page_is_text(bench: WikiBench, wiki: FakeWiki, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what would be boilerplate around an article; its title is the page's and not its first heading."""
    wiki.edit("Ünï & <co>", "unused")
    (item,) = listed(bench).values()
    rendered = "<h2>First</h2><ul><li><a href='/'>Link</a></li></ul><footer>Last words</footer>"
    monkeypatch.setattr(wiki, "_parse", lambda asked: {"parse": {"title": "Ünï & <co>", "revid": 1, "text": rendered}})
    got = bench.open().fetch(item)
    data = got.path.read_bytes()
    assert kind_of(data, got.name) == "html"
    found = html.parse(data, got.name)
    assert found.title == "Ünï & <co>"
    assert found.text.split() == ["First", "Link", "Last", "words"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("maxlag", "throttled"),
        ("ratelimited", "throttled"),
        ("readonly", "server_error"),
        ("internal_api_error_DBQueryError", "server_error"),
    ],
)
def test_errors_that_pass_are_waited_out(bench: WikiBench, wiki: FakeWiki, code: str, reason: str) -> None:
    """Also inside a 200, as long as the wiki says; those that stay end as what they are."""
    wiki.edit("Page", "text")
    wiki.fail(code, times=2, headers={"Retry-After": "7"})
    assert len(listed(bench)) == 1
    assert max(outcome.cooldown for outcome in bench.kit.budget.outcomes) == 7
    wiki.fail(code, times=10_000)
    with pytest.raises(RetryLater) as error:
        listed(bench)
    assert error.value.reason == reason


@pytest.mark.parametrize("code", ["readapidenied", "mwoauth-invalid-authorization", "assertuserfailed", "unknown_x"])
def test_errors_that_stay_stop_the_source(bench: WikiBench, wiki: FakeWiki, code: str) -> None:
    """In one line that says what to do."""
    wiki.edit("Page", "text")
    wiki.fail(code, times=10_000)
    with pytest.raises(StopSource, match=code):
        listed(bench)


def test_a_lost_login_is_no_smaller_wiki(tmp_path: Path) -> None:
    """With a token each answer is one for somebody who is known, or none."""
    with FakeWiki(token=WikiBench.secret) as wiki:
        bench = WikiBench(tmp_path, wiki, "html")
        listed(bench)
        assert all(asked["assert"] == "user" for asked in wiki.requests)


@pytest.fixture
def private(bench: WikiBench, wiki: FakeWiki) -> WikiBench:
    """A wiki that a bot may read and nobody else."""
    wiki.bot = ("Reader@penstock", bench.secret)
    wiki.edit("Page", "text")
    bench.options.update(user="Reader@penstock", password="${TOKEN}")
    return bench


def logins(wiki: FakeWiki) -> int:
    return sum(asked.get("action") == "login" for asked in wiki.requests)


def test_a_bot_logs_in_once(private: WikiBench, wiki: FakeWiki) -> None:
    """All that is asked afterwards is asked in its session, and insists on it."""
    source = private.open()
    (item,) = [each for each in source.list() if isinstance(each, Item)]
    assert private.fetched(source, item)[0] == "text"
    assert logins(wiki) == 1
    assert all(asked.get("assert") == "user" for asked in wiki.requests[2:])
    assert not any(private.secret in str(asked) for asked in wiki.requests if asked.get("action") != "login")


def test_a_session_that_ended_is_begun_again(private: WikiBench, wiki: FakeWiki) -> None:
    """In the middle of a listing, and by one of eight threads."""
    for number in range(30):
        wiki.edit(f"Page {number}", "text")
    source = private.open()
    listing = source.list()
    entries = [next(listing) for _ in range(4)]
    wiki.sessions.clear()
    entries += listing
    found = [each for each in entries if isinstance(each, Item)]
    assert len(found) == 31 and logins(wiki) == 2
    wiki.sessions.clear()
    with ThreadPoolExecutor(8) as pool:
        assert {got.title for got in pool.map(source.fetch, found)} == {
            "Page",
            *(f"Page {number}" for number in range(30)),
        }
    assert logins(wiki) == 3


def test_a_bot_that_is_not_let_in_stops_the_source(private: WikiBench, wiki: FakeWiki) -> None:
    """After one try: more would lock the account."""
    wiki.bot = ("Reader@penstock", "another")
    with pytest.raises(StopSource, match="does not let Reader@penstock in") as error:
        listed(private)
    assert logins(wiki) == 1 and private.secret not in str(error.value)


def test_cookies_are_told_from_dates() -> None:
    """Several Set-Cookie headers come joined by commas."""
    given = "a=1; expires=Thu, 21-Nov-2030 08:00:00 GMT; path=/, b=deleted; expires=Thu, 01 Jan 1970, c=x%2Cy; HttpOnly"
    assert pairs(given) == {"a": "1", "c": "x%2Cy"}


def test_garbage_is_no_empty_wiki(bench: WikiBench, wiki: FakeWiki) -> None:
    """An answer that is no JSON, or says nothing."""
    wiki.edit("Page", "text")
    wiki.prefix_of_answers = "<b>Warning</b>: in LocalSettings.php"
    with pytest.raises(RetryLater) as error:
        listed(bench)
    assert error.value.reason == "garbled"


def test_warnings_are_passed_on_once(bench: WikiBench, wiki: FakeWiki) -> None:
    """And nothing else comes of them."""
    for number in range(20):
        wiki.edit(f"Page {number}", "text")
    wiki.warnings = {"main": {"warnings": "Unrecognized parameter:\nassert"}}
    assert len(listed(bench)) == 20
    assert [note for note in bench.kit.notes if "Unrecognized parameter: assert" in note] == bench.kit.notes
    assert len(bench.kit.notes) == 1


def test_a_wiki_that_is_too_old_or_lacks_a_namespace_is_refused(bench: WikiBench, wiki: FakeWiki) -> None:
    """Before anything is listed."""
    bench.options["namespaces"] = [0, 3000]
    with pytest.raises(StopSource, match="no namespace 3000"):
        listed(bench)
    wiki.version = "MediaWiki 1.27.4"
    with pytest.raises(StopSource, match=r"1\.31 or later"):
        listed(bench)


def test_hundreds_of_changes_are_asked_for_fifty_at_a_time(bench: WikiBench, wiki: FakeWiki) -> None:
    """The wiki allows no more, and takes long questions as a form only."""
    bench.options["page_size"] = 500
    cursor = mark(bench)
    pages = [wiki.edit(f"{'Ünï' * 40} {number}", "text") for number in range(120)]
    for page in pages[:60]:
        wiki.move(page.title, f"Moved {page.title}", leave=False)
    items, gone = changes(bench, cursor)
    assert items == {f"notes/{page.number}" for page in pages} and gone == set()


def test_a_rendered_page_that_is_too_large_is_rejected(bench: WikiBench, wiki: FakeWiki) -> None:
    """What templates made of little text counts as well."""
    wiki.edit("Page", "<" * (bench.max_bytes // 3))
    (item,) = listed(bench).values()
    with pytest.raises(RejectItem) as error:
        bench.open().fetch(item)
    assert error.value.reason == "too_large"


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"url": "https://wiki.example.org"}, "url"),
        ({"url": "ftp://wiki.example.org/api.php"}, "url"),
        ({"url": "https://me:secret@wiki.example.org/api.php"}, "url"),
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": [-1]}, "namespaces"),
        ({"namespaces": [0, 0]}, "namespaces"),
        ({"user": "me"}, "user"),
        ({"user": "me", "password": "${P}", "token": "${T}"}, "token"),
        ({"http_user": "me"}, "http_user"),
        ({"http_user": "me", "http_password": "${P}", "token": "${T}"}, "token"),
        ({"user_agent": "a\nb"}, "user_agent"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(wrong: dict[str, Any], key: str) -> None:
    """One line that begins with the key; never the password."""
    options = msgspec.convert({"url": "https://wiki.example.org/w/api.php", **wrong}, MediaWikiOptions)
    with pytest.raises(ValueError, match=f"^{key}: ") as error:
        options.anchored(Path("/"))
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_ids_are_seen_once() -> None:
    """Small ones and large ones, in any order."""
    seen = SeenIds()
    numbers = [0, 1, 7, 8, 16_383, 16_384, 5_000_000, 2**60]
    assert all(seen.add(number) for number in numbers)
    assert not any(seen.add(number) for number in numbers)
    assert seen.add(2)
