"""What a `Source` with a changes feed promises beside `SourceSuite`: nothing that changed after a mark is missed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from penstock.connectors.types import CursorExpired, Gap, Gone, Incremental, Item, Mark, RetryLater, StopSource
from tests.suites.source_bench import Bench, raised
from tests.suites.source_suite import MANY, SourceSuite, by_uri, items, one_line


def mark(entries: Iterable[Any]) -> str:
    """The one mark of a listing or of a feed."""
    (found,) = [each for each in entries if isinstance(each, Mark)]
    return found.cursor


def gone(entries: Iterable[Any]) -> set[str]:
    return {each.uri for each in entries if isinstance(each, Gone)}


class ChangesSuite(SourceSuite):
    """Subclasses define a fixture `bench`: an empty source that is there, and has a feed."""

    INCREMENTAL = True

    def feed(self, bench: Bench, cursor: str) -> list[Any]:
        """All that the feed says since `cursor`, by a source opened anew; the mark comes last."""
        source = bench.open()
        assert isinstance(source, Incremental)
        entries = list(source.changes(cursor))
        assert isinstance(entries[-1], Mark)
        assert mark(entries)
        return entries

    def test_a_complete_listing_yields_a_mark(self, bench: Bench) -> None:
        """Also an empty one: it is where the feed begins. It holds no secret."""
        for count in (0, MANY):
            bench.fill(count)
            entries = list(bench.open().list())
            assert mark(entries)
            self.assert_silent(bench, mark(entries))

    def test_what_changed_since_the_mark_is_in_the_feed(self, bench: Bench) -> None:
        """Items that are new, changed and changed again, each as the next listing lists it."""
        names = bench.fill(MANY)
        cursor = mark(bench.open().list())
        bench.put("new", "text")
        for text in ("once", "twice"):
            bench.put(names[3], text)
        bench.put(names[-1], "changed")
        entries = self.feed(bench, cursor)
        found, listed = by_uri(entries), by_uri(bench.open().list())
        assert {bench.uri(name) for name in ("new", names[3], names[-1])} <= set(found)
        assert all(listed[uri] == item for uri, item in found.items())
        assert gone(entries) == set()

    def test_marks_follow_each_other_without_a_hole(self, bench: Bench) -> None:
        """From mark to mark, every change is in the feed that follows it."""
        bench.fill(3)
        cursor = mark(bench.open().list())
        for turn in range(4):
            bench.put(f"turn-{turn}", "text")
            entries = self.feed(bench, cursor)
            assert bench.uri(f"turn-{turn}") in by_uri(entries)
            cursor = mark(entries)

    def test_what_changes_while_it_is_listed_is_in_the_feed(self, bench: Bench) -> None:
        """The mark of a listing is from before it began."""
        names = bench.fill(MANY)
        entries = self.shifted(bench, names)
        if not any(isinstance(each, Mark) for each in entries):
            return  # it was not complete: the next listing has the mark
        found = by_uri(self.feed(bench, mark(entries)))
        listed = by_uri(bench.open().list())
        for name in ("aaa-before", "item-00000b", "item-00020b", "zzz-after", names[15]):
            assert found[bench.uri(name)] == listed[bench.uri(name)]

    def test_what_changes_while_the_feed_is_read_is_in_the_next(self, bench: Bench) -> None:
        """The mark that ends a feed does not pass over what came while it was read."""
        names = bench.fill(MANY)
        cursor = mark(bench.open().list())
        for name in names:
            bench.put(name, f"changed {name}")
        source = bench.open()
        assert isinstance(source, Incremental)
        feed = source.changes(cursor)
        entries: list[Any] = [next(feed) for _ in range(3)]
        bench.put("came", "meanwhile")
        bench.put(names[0], "changed again")
        entries += feed
        listed = by_uri(bench.open().list())
        late = {**by_uri(entries), **by_uri(self.feed(bench, mark(entries)))}
        for name in ("came", names[0]):
            assert late[bench.uri(name)] == listed[bench.uri(name)]

    def test_gone_is_said_only_of_what_is_gone(self, bench: Bench) -> None:
        """Deleted, and not made again; absence means nothing, so it need not be said."""
        names = bench.fill(MANY)
        before = {name: bench.uri(name) for name in names}
        cursor = mark(bench.open().list())
        bench.delete(names[1])
        bench.delete(names[2])
        bench.put(names[2], "made again")
        bench.rename(names[4], "moved")
        bench.put(names[5], "changed")
        entries = self.feed(bench, cursor)
        listed = by_uri(bench.open().list())
        assert gone(entries) <= set(before.values()) - set(listed)
        assert {bench.uri(names[2]), bench.uri("moved"), bench.uri(names[5])} <= set(by_uri(entries)) | set(listed)
        assert set(by_uri(entries)) <= set(listed)
        assert {bench.uri(names[2]), bench.uri(names[5])} <= set(by_uri(entries))

    def test_a_cursor_may_be_used_again(self, bench: Bench) -> None:
        """A run that stopped before its commit reads the same feed once more."""
        bench.fill(3)
        cursor = mark(bench.open().list())
        bench.put("new", "text")
        assert bench.uri("new") in by_uri(self.feed(bench, cursor))
        assert bench.uri("new") in by_uri(self.feed(bench, cursor))

    def test_a_cursor_of_another_make_is_expired(self, bench: Bench) -> None:
        """The configuration changed, or the version of the connector: list everything."""
        bench.fill(3)
        source = bench.open()
        assert isinstance(source, Incremental)
        for cursor in ("", "no cursor", "{}", "[1]", "\x00", "9" * 40):
            with pytest.raises(CursorExpired):
                list(source.changes(cursor))

    def test_a_cursor_that_is_too_old_is_expired(self, bench: Bench) -> None:
        """The feed says so, and does not begin where it happens to begin."""
        bench.fill(3)
        cursor = mark(bench.open().list())
        bench.expire(cursor)
        source = bench.open()
        assert isinstance(source, Incremental)
        with pytest.raises(CursorExpired) as error:
            list(source.changes(cursor))
        assert one_line(error.value)

    def test_a_feed_that_cannot_be_read_gives_no_mark(self, bench: Bench) -> None:
        """It raises as a listing does; what came before the error is not accounted for by any cursor."""
        names = bench.fill(MANY)
        cursor = mark(bench.open().list())
        for name in names:
            bench.put(name, f"changed {name}")
        bench.disconnect()
        entries: list[Any] = []
        source = bench.open()
        assert isinstance(source, Incremental)

        def read() -> None:
            for each in source.changes(cursor):
                entries.append(each)

        error = raised(read)
        assert isinstance(error, RetryLater | StopSource) and one_line(error)
        assert not any(isinstance(each, Mark) for each in entries)
        self.assert_silent(bench, str(error))
        bench.mend()
        bench.kit.time.sleep(3600)
        assert set(by_uri(self.feed(bench, cursor))) == {bench.uri(name) for name in names}

    def test_a_feeds_items_can_be_fetched(self, bench: Bench) -> None:
        """They are items like those of a listing."""
        bench.fill(2)
        cursor = mark(bench.open().list())
        bench.put("new", "fresh text")
        source = bench.open()
        item = by_uri(self.feed(bench, cursor))[bench.uri("new")]
        text, got = bench.fetched(source, item)
        assert text == "fresh text"
        assert got.version in ("", item.version)

    def test_a_feeds_gaps_have_reasons(self, bench: Bench) -> None:
        """In one line, below the source's name; a feed of a source at rest has none."""
        bench.fill(3)
        entries = self.feed(bench, mark(bench.open().list()))
        assert not any(isinstance(each, Gap) for each in entries)
        assert all(re.match(re.escape(bench.NAME) + "/", each.uri) for each in items(entries))
        assert all(isinstance(each, Item | Mark) for each in entries)
