"""What every `Source` promises. A connector's test file subclasses `SourceSuite` and gives it a `Bench`.

A source with a changes feed subclasses `ChangesSuite` (tests/suites/changes_suite.py) instead.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from penstock.connectors.connector import SourceOptions
from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.connectors.types import (
    Fetched,
    Gap,
    Incremental,
    Item,
    Mark,
    RejectItem,
    RetryLater,
    SourceError,
    StopSource,
)
from tests.suites.source_bench import Bench, chain, raised, shapes

MANY = 40
"""Items for the checks that need more than one page: let pages be smaller than this."""


def items(entries: Iterable[Any]) -> list[Item]:
    return [each for each in entries if isinstance(each, Item)]


def by_uri(entries: Iterable[Any]) -> dict[str, Item]:
    """Items by uri; each uri once."""
    found = items(entries)
    assert len({item.uri for item in found}) == len(found), "a uri is listed twice"
    return {item.uri: item for item in found}


def excused(entries: Iterable[Any], uri: str) -> bool:
    """Whether a gap says that nothing may be inferred about `uri`."""
    return any(isinstance(each, Gap) and uri.startswith(each.uri_prefix) for each in entries)


def one_line(error: BaseException) -> bool:
    said = str(error)
    return bool(said.strip()) and "\n" not in said and len(said) < 1000


class SourceSuite:
    """Subclasses define a fixture `bench`: an empty source that is there."""

    CANNOT: ClassVar[dict[str, str]] = {}
    """Checks that this source cannot have, by the test's name, each with the reason."""
    INCREMENTAL = False

    @pytest.fixture(autouse=True)
    def _opted_out(self, request: pytest.FixtureRequest) -> None:
        assert self.misnamed() == [], "CANNOT names checks that are none"
        reason = self.CANNOT.get(request.function.__name__)
        if reason is not None:
            pytest.skip(reason)

    def misnamed(self) -> list[str]:
        """Names in `CANNOT` that are no checks: a renamed check must not be lost."""
        return [name for name in self.CANNOT if not hasattr(type(self), name)]

    # ── the connector ────────────────────────────────────────────────────────────────────────────────────

    def test_the_connector_says_what_it_is(self, bench: Bench) -> None:
        """A name, a version that begins with it, options of our kind, a binding without the secret."""
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", bench.connector.name)
        assert re.fullmatch(re.escape(bench.connector.name) + r"/\d+", bench.connector.version)
        assert issubclass(bench.connector.options, SourceOptions)
        options = msgspec.convert(dict(bench.options), bench.connector.options).anchored(Path("/"))
        assert options.binding() and isinstance(options.binding(), str)
        self.assert_silent(bench, options.binding(), repr(options))
        assert isinstance(bench.open(), Incremental) is self.INCREMENTAL

    def test_a_key_that_is_none_is_refused(self, bench: Bench) -> None:
        """A misspelt option is an error that names it, and not an option that does nothing."""
        with pytest.raises(msgspec.ValidationError, match="mispelt"):
            msgspec.convert({**bench.options, "mispelt": 1}, bench.connector.options)

    def test_opening_asks_nobody(self, bench: Bench) -> None:
        """A source that is configured and not used costs nothing and cannot fail."""
        before = bench.requests()
        assert bench.open().name == bench.NAME
        assert bench.requests() == before
        assert bench.kit.budget.permits == 0

    # ── listing ──────────────────────────────────────────────────────────────────────────────────────────

    def test_an_empty_source_lists_nothing_and_is_complete(self, bench: Bench) -> None:
        """No item, no gap, no error."""
        assert [each for each in bench.open().list() if not isinstance(each, Mark)] == []

    def test_everything_is_listed_once(self, bench: Bench) -> None:
        """Over several pages: each item, each once, below the source's name, with a version; at most one mark."""
        names = bench.fill(MANY)
        entries = list(bench.open().list())
        found = by_uri(entries)
        assert set(found) == {bench.uri(name) for name in names}
        for item in found.values():
            assert item.uri.startswith(bench.NAME + "/")
            assert item.version and item.size >= -1
        assert not any(isinstance(each, Gap) for each in entries)
        assert sum(isinstance(each, Mark) for each in entries) <= 1

    def test_what_did_not_change_is_listed_as_before(self, bench: Bench) -> None:
        """Two listings, also by sources opened anew, give equal items."""
        bench.fill(MANY)
        source = bench.open()
        first = by_uri(source.list())
        assert first == by_uri(source.list()) == by_uri(bench.open().list())

    def test_a_version_changes_with_the_content_and_only_then(self, bench: Bench) -> None:
        """The changed item has another token, each time; all others keep theirs."""
        bench.fill(5)
        bench.put("it", "one")
        seen = [by_uri(bench.open().list())]
        for text in ("two", "owt", "three"):
            bench.put("it", text)
            seen.append(by_uri(bench.open().list()))
        uri = bench.uri("it")
        assert len({listing[uri].version for listing in seen}) == len(seen)
        assert len({msgspec.json.encode({k: v for k, v in each.items() if k != uri}) for each in seen}) == 1

    def test_a_version_changes_with_the_metadata(self, bench: Bench) -> None:
        """What is carried to the chunks must reach them."""
        bench.put("it", "one")
        before = by_uri(bench.open().list())[bench.uri("it")].version
        bench.describe("it", "another")
        source = bench.open()
        after = by_uri(source.list())[bench.uri("it")]
        assert after.version != before
        assert "another" in str(bench.fetched(source, after)[1].metadata.values())

    def test_a_version_changes_with_who_may_read_it(self, bench: Bench) -> None:
        """A label that was added is seen, and comes with the fetch."""
        bench.put("it", "one")
        before = by_uri(bench.open().list())[bench.uri("it")].version
        bench.label("it", "staff")
        source = bench.open()
        after = by_uri(source.list())[bench.uri("it")]
        assert after.version != before
        assert "staff" in bench.fetched(source, after)[1].labels

    def test_what_was_deleted_is_not_listed(self, bench: Bench) -> None:
        """The next complete listing lacks it, and lacks nothing else."""
        names = bench.fill(MANY)
        staying = {bench.uri(name) for name in names if name != names[MANY // 2]}
        bench.delete(names[MANY // 2])
        assert set(by_uri(bench.open().list())) == staying

    def test_what_was_renamed_is_listed_once_and_whole(self, bench: Bench) -> None:
        """By its new uri or by a lasting one; its content is as it was."""
        bench.put("old", "same text")
        before = bench.uri("old")
        bench.rename("old", "new")
        source = bench.open()
        found = by_uri(source.list())
        assert set(found) == {bench.uri("new")}
        assert bench.uri("new") == before or before not in found
        assert bench.fetched(source, found[bench.uri("new")])[0] == "same text"

    def test_a_listing_is_lazy(self, bench: Bench) -> None:
        """Of ten thousand items the first comes long before the last was asked for: memory is bounded."""
        names = bench.fill(10_000)
        before = bench.requests()
        listing = bench.open().list()
        seen = {next(each for each in listing if isinstance(each, Item)).uri}
        first = bench.requests() - before
        seen |= {item.uri for item in items(listing)}
        assert len(seen) == len(names)
        assert first < (bench.requests() - before) / 2

    def test_a_listing_may_be_left_in_the_middle(self, bench: Bench) -> None:
        """What was not read to its end holds nothing up: listing and fetching go on as ever."""
        bench.fill(MANY)
        source = bench.open()
        for _ in range(12):
            listing = source.list()
            item = next(each for each in listing if isinstance(each, Item))
            assert isinstance(listing, Iterator)
            if hasattr(listing, "close"):
                listing.close()
        assert bench.fetched(source, item)[0].startswith("text of")
        assert len(by_uri(source.list())) == MANY

    @pytest.mark.parametrize("what", ["gone", "come", "gone and come"])
    def test_what_shifts_while_it_is_listed_loses_nothing(self, bench: Bench, what: str) -> None:
        """Items go and come between two pages: what was there all the time is listed once, or is a gap."""
        names = bench.fill(MANY)
        entries = self.shifted(bench, names, what)
        staying = {bench.uri(name) for name in names if name not in names[1:12:3] or "gone" not in what}
        missing = staying - set(by_uri(entries))
        assert all(excused(entries, uri) for uri in missing)

    def shifted(self, bench: Bench, names: list[str], what: str = "gone and come") -> list[Any]:
        """A listing in the middle of which items go, one changes, and others come on either side."""
        entries: list[Any] = []
        listing = bench.open().list()
        for _ in range(3):
            entries.append(next(listing))
        for name in names[1:12:3] if "gone" in what else ():
            bench.delete(name)
        for name in ("aaa-before", "item-00000b", "item-00020b", "zzz-after") if "come" in what else ():
            bench.put(name, "came meanwhile")
        bench.put(names[15], "changed meanwhile")
        try:
            entries += listing
        except RetryLater:
            entries.append(Gap(bench.NAME + "/", "it said that it cannot be listed now"))
        return entries

    # ── listings that fail ───────────────────────────────────────────────────────────────────────────────

    def test_a_listing_that_is_cut_once_resumes_or_raises(self, bench: Bench) -> None:
        """It never ends normally and short, and the next one is complete."""
        names = bench.fill(MANY)
        source = bench.open()
        bench.cut_listing(for_ever=False)
        self.assert_nothing_is_silent(bench, source.list, names)
        bench.mend()
        assert set(by_uri(source.list())) == {bench.uri(name) for name in names}

    def test_a_listing_that_is_always_cut_raises_or_says_where(self, bench: Bench) -> None:
        """It gives up in the end, in words: what was not listed is covered by an error or a gap."""
        names = bench.fill(MANY)
        source = bench.open()
        bench.cut_listing(for_ever=True)
        entries, error = self.assert_nothing_is_silent(bench, source.list, names)
        assert error is not None or any(isinstance(each, Gap) for each in entries)
        bench.mend()
        assert set(by_uri(source.list())) == {bench.uri(name) for name in names}

    def test_a_part_that_cannot_be_listed_is_never_silent(self, bench: Bench) -> None:
        """A gap that covers it, or an error; the gap has a reason in one line."""
        names = bench.fill(MANY)
        bench.hide(names[7])
        self.assert_nothing_is_silent(bench, bench.open().list, names)

    def test_a_place_that_is_gone_is_not_an_empty_one(self, bench: Bench) -> None:
        """Nobody can infer deletions from a source that is not there."""
        bench.fill(3)
        bench.lose()
        error = raised(lambda: list(bench.open().list()))
        assert isinstance(error, StopSource | RetryLater)
        assert one_line(error)

    def test_refused_credentials_stop_the_source(self, bench: Bench) -> None:
        """Trying again would not help, and might lock the account: listing and fetching say so."""
        bench.put("it", "one")
        source = bench.open()
        (item,) = items(source.list())
        bench.refuse()
        for act in self.uses(bench, source, item):
            error = raised(act)
            assert isinstance(error, StopSource), repr(error)
            assert one_line(error)

    def test_a_source_that_cannot_be_reached_is_told_from_one_that_lacks_items(self, bench: Bench) -> None:
        """Listing and fetching raise `RetryLater` or `StopSource` in one line, and go on when it is back."""
        bench.put("it", "one")
        source = bench.open()
        (item,) = items(source.list())
        bench.disconnect()
        for act in self.uses(bench, source, item):
            error = raised(act)
            assert isinstance(error, RetryLater | StopSource), repr(error)
            assert one_line(error)
            assert not isinstance(error, RetryLater) or error.reason in FAILURES
        bench.mend()
        bench.kit.time.sleep(3600)
        assert bench.fetched(bench.open(), item)[0] == "one"

    def assert_nothing_is_silent(
        self, bench: Bench, listing: Callable[[], Iterable[Any]], names: list[str]
    ) -> tuple[list[Any], SourceError | None]:
        entries: list[Any] = []
        error: SourceError | None = None
        try:
            for each in listing():
                entries.append(each)
        except (RetryLater, StopSource) as raised_error:
            error = raised_error
        found = by_uri(entries)
        missing = {bench.uri(name) for name in names} - set(found)
        assert error is not None or all(excused(entries, uri) for uri in missing)
        assert error is None or one_line(error)
        for each in entries:
            if isinstance(each, Gap):
                assert each.uri_prefix.startswith(bench.NAME + "/")
                assert each.reason.strip() and "\n" not in each.reason
        return entries, error

    def uses(self, bench: Bench, source: Any, item: Item) -> list[Callable[[], object]]:
        """Every way of asking, of a source that is open and of one opened anew."""
        return [
            lambda: list(source.list()),
            lambda: source.fetch(item),
            lambda: list(bench.open().list()),
            lambda: bench.open().fetch(item),
        ]

    # ── fetching ─────────────────────────────────────────────────────────────────────────────────────────

    def test_a_fetch_gives_the_bytes(self, bench: Bench) -> None:
        """Each item's own, with the listed version if it did not change; it may be repeated."""
        names = bench.fill(MANY)
        source = bench.open()
        found = by_uri(source.list())
        for name in names[::7]:
            for _ in range(2):
                text, got = bench.fetched(source, found[bench.uri(name)])
                assert text == f"text of {name}"
                assert got.version in ("", found[bench.uri(name)].version)
                self.assert_well_formed(bench, got)

    def test_a_fetch_gives_the_token_of_exactly_its_bytes(self, bench: Bench) -> None:
        """Changed since it was listed: the new bytes come with the new token, or the old with the old."""
        bench.put("it", "old text")
        source = bench.open()
        (old,) = items(source.list())
        bench.put("it", "new text")
        text, got = bench.fetched(source, old)
        (new,) = items(bench.open().list())
        assert (text, got.version or new.version) in {("new text", new.version), ("old text", old.version)}

    def test_an_item_that_is_gone_is_said_to_be_missing(self, bench: Bench) -> None:
        """Deleted since it was listed: FileNotFoundError, and nothing else is wrong."""
        bench.put("it", "one")
        bench.put("other", "two")
        source = bench.open()
        found = by_uri(source.list())
        uri = bench.uri("it")
        bench.delete("it")
        for each in (source, bench.open()):
            with pytest.raises(FileNotFoundError):
                each.fetch(found[uri])
        assert bench.fetched(source, found[bench.uri("other")])[0] == "two"

    def test_an_item_that_is_too_large_is_rejected(self, bench: Bench) -> None:
        """Without fetching more than the limit, and leaving nothing behind."""
        bench.put("it", "x" * (bench.max_bytes + 1))
        source = bench.open()
        (item,) = items(source.list())
        with pytest.raises(RejectItem) as error:
            source.fetch(item)
        assert error.value.reason == "too_large" and one_line(error.value)
        assert list(bench.kit.scratch.rglob("*")) == []

    def test_faults_of_one_item_are_errors_by_what_to_do_next(self, bench: Bench) -> None:
        """Each with its reason from the vocabulary, in one line; other items are fetched as ever; nothing is left."""
        bench.put("other", "fine")
        for number, (fault, (kind, reason)) in enumerate(bench.faults.items()):
            name = f"spoilt-{number}"
            bench.put(name, "text")
            source = bench.open()
            found = by_uri(source.list())
            uri = bench.uri(name)
            bench.spoil(name, fault)
            error = raised(lambda source=source, item=found[uri]: source.fetch(item))  # type: ignore[misc]
            assert isinstance(error, kind), f"{fault}: {error!r}"
            assert one_line(error)
            assert getattr(error, "reason", "") == reason
            assert not reason or reason in FAILURES or reason in REJECTIONS
            assert bench.fetched(bench.open(), found[bench.uri("other")])[0] == "fine"
        assert bench.faults, "no faults are given: set `faults` or say in CANNOT why there are none"
        assert list(bench.kit.scratch.rglob("*")) == []

    def test_temporary_files_lie_in_the_scratch_folder(self, bench: Bench) -> None:
        """Each fetch has a file of its own there; what is not temporary lies elsewhere and stays."""
        bench.put("it", "one")
        source = bench.open()
        (item,) = items(source.list())
        one, two = source.fetch(item), source.fetch(item)
        for got in (one, two):
            inside = got.path.resolve().is_relative_to(bench.kit.scratch.resolve())
            assert got.temporary is inside
            assert got.path.is_file() and not got.path.is_symlink()
        assert not one.temporary or one.path != two.path
        kept = {got.path for got in (one, two) if got.temporary}
        assert {path for path in bench.kit.scratch.rglob("*") if path.is_file()} == kept

    def test_hostile_names_are_listed_and_fetched(self, bench: Bench) -> None:
        """Each is an item with its own bytes, or a gap; no file leaves the scratch folder, no uri is no text."""
        for name in bench.names:
            bench.put(name, f"text of {name}")
        source = bench.open()
        entries = list(source.list())
        found = by_uri(entries)
        assert all(bench.uri(name) in found or excused(entries, bench.uri(name)) for name in bench.names)
        assert len(found) == sum(bench.uri(name) in found for name in bench.names)
        for name in bench.names:
            if bench.uri(name) in found:
                text, got = bench.fetched(source, found[bench.uri(name)])
                assert text == f"text of {name}"
                self.assert_well_formed(bench, got)
        for item in found.values():
            assert item.uri.encode() and item.locator.encode() and item.version.encode()
            assert "\0" not in item.uri + item.locator + item.version

    def assert_well_formed(self, bench: Bench, got: Fetched) -> None:
        assert got.name and "/" not in got.name and "\0" not in got.name and got.name not in (".", "..")
        assert got.name.encode("utf-8", "surrogateescape")
        for text in (got.title, got.url, *got.metadata, *got.metadata.values(), *got.labels):
            assert isinstance(text, str) and text.encode() is not None and "\0" not in text
        assert got.retries >= 0

    # ── manners ──────────────────────────────────────────────────────────────────────────────────────────

    def test_every_request_has_its_permit(self, bench: Bench) -> None:
        """Listing and fetching never ask the source without a place in its budget, and say how each ended."""
        bench.fill(MANY)
        source = bench.open()
        before = bench.requests()
        found = items(source.list())
        for item in found[:5]:
            bench.fetched(source, item)
        budget = bench.kit.budget
        assert 0 < bench.requests() - before <= budget.permits
        assert len(budget.outcomes) == budget.permits
        assert {outcome.verdict for outcome in budget.outcomes} == {"ok"}

    def test_a_spent_budget_stops_the_source(self, bench: Bench) -> None:
        """The source is not asked any more, and the message of the budget is what people see."""
        bench.put("it", "one")
        source = bench.open()
        (item,) = items(source.list())
        bench.kit.budget.spent = True
        before = bench.requests()
        for act in self.uses(bench, source, item):
            with pytest.raises(StopSource, match="quota"):
                act()
        assert bench.requests() == before

    def test_threads_do_not_get_in_each_others_way(self, bench: Bench) -> None:
        """Eight at once list and fetch through one source: each gets what is its own."""
        names = bench.fill(MANY)
        source = bench.open()
        found = by_uri(source.list())
        start = threading.Barrier(8)

        def work(number: int) -> None:
            start.wait()
            if number % 4 == 0:
                assert by_uri(source.list()) == found
            for name in names[number::3]:
                assert bench.fetched(source, found[bench.uri(name)])[0] == f"text of {name}"

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, number) for number in range(8)]:
                done.result()

    def test_the_secret_is_never_seen(self, bench: Bench) -> None:
        """Not in what is listed and fetched, in the source's own form, in notes, nor in any error or its causes."""
        bench.put("it", "one")
        source = bench.open()
        (item,) = items(entries := list(source.list()))
        got = source.fetch(item)
        seen = [repr(source), str(source), repr(entries), repr(got)]
        faults: list[Callable[[], object]] = [
            lambda: bench.delete("it"),
            lambda: bench.cut_listing(for_ever=True),
            bench.mend,
            bench.disconnect,
            bench.mend,
            bench.refuse,
            bench.lose,
        ]
        for fault in faults:
            if isinstance(raised(fault), NotImplementedError):
                continue
            for act in self.uses(bench, source, item):
                for error in chain(raised(act)):
                    seen += [str(error), repr(error), repr(error.args)]
        self.assert_silent(bench, *seen, *bench.kit.notes)

    def assert_silent(self, bench: Bench, *seen: str) -> None:
        """None of these lines holds the secret in any form."""
        assert bench.secret or "test_the_secret_is_never_seen" in self.CANNOT, "set `secret`, or opt out"
        for line in seen:
            for shape in shapes(bench.secret) if bench.secret else ():
                assert shape not in line, "the secret is in: " + line.replace(shape, "<SECRET>")
