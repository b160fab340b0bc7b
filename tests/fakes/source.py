"""A source in memory: what it holds, what it says of it, and how it fails, are set by the test.

It is a connector of type `fake`; `at(name)` is what the source of that name in the configuration pulls from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from penstock.connectors.connector import SourceOptions, Tools
from penstock.connectors.types import CursorExpired, Fetched, Gap, Gone, Item, Mark, RejectItem, RetryLater, StopSource


@dataclass
class Held:
    """One document at the source."""

    text: str
    version: str
    modified: float | None = None
    labels: tuple[str, ...] = ()


@dataclass
class Place:
    """What is at the source. `faults`: name -> errors that the next fetches of it raise, the first first.

    `down_after`: so many fetches succeed, then the source is gone. `refused`: versions that it never gives. `feed`:
    what changed, in order, as (number, name); a name that is not held any more is gone. `untold`: numbers that the feed
    leaves out; `again`: so many entries before the cursor it repeats. Of a listing: `left_out` is not in it though it
    is there, `twice` is in it two times, after `cut_after` entries it fails. `meanwhile` is called before each fetch.
    `bodies`: (name, version) of each fetch that succeeded.
    """

    held: dict[str, Held] = field(default_factory=dict)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    down_after: int | None = None
    unlisted: Exception | None = None
    gap: str = ""
    expired: bool = False
    feed: list[tuple[int, str]] = field(default_factory=list)
    untold: set[int] = field(default_factory=set)
    again: int = 0
    refused: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    twice: set[str] = field(default_factory=set)
    cut_after: int | None = None
    meanwhile: Callable[[str], None] = lambda name: None
    fetched: list[str] = field(default_factory=list)
    bodies: list[tuple[str, str]] = field(default_factory=list)
    listings: list[str] = field(default_factory=list)

    def put(
        self, name: str, text: str, version: str = "", modified: float | None = None, labels: tuple[str, ...] = ()
    ) -> None:
        number = len(self.feed) + 1
        self.held[name] = Held(text, version or f"v{number}", modified, labels)
        self.feed.append((number, name))

    def drop(self, name: str) -> None:
        del self.held[name]
        self.feed.append((len(self.feed) + 1, name))


PLACES: dict[str, Place] = {}


def at(name: str) -> Place:
    return PLACES.setdefault(name, Place())


class FakeOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    template: str = ""
    fed: bool = False

    def binding(self) -> str:
        return "fake://there"


class FakeSource:
    def __init__(self, name: str, options: FakeOptions, tools: Tools) -> None:
        self.name, self.tools, self.options, self.place = name, tools, options, at(name)

    def list(self) -> Iterator[Item | Gap | Mark]:
        self.place.listings.append("full")
        if self.place.unlisted is not None:
            raise self.place.unlisted
        yield Mark(str(len(self.place.feed)))
        for number, name in enumerate(list(self.place.held)):
            if number == self.place.cut_after:
                raise RetryLater("the second page does not come")
            if not (self.place.gap and name.startswith(self.place.gap)) and name not in self.place.left_out:
                yield self._item(name)
                if name in self.place.twice:
                    yield self._item(name)
        if self.place.gap:
            yield Gap(f"{self.name}/{self.place.gap}", "not to be listed")

    def fetch(self, item: Item) -> Fetched:
        place, name = self.place, item.locator
        place.meanwhile(name)
        if place.down_after is not None and len(place.fetched) >= place.down_after:
            raise StopSource("the source is down", after=600.0)
        if place.faults.get(name):
            raise place.faults[name].pop(0)
        if name not in place.held:
            raise FileNotFoundError(name)
        held = place.held[name]
        if held.version in place.refused:
            raise RejectItem("much too large", reason="too_large")
        place.fetched.append(name)
        place.bodies.append((name, held.version))
        path = self.tools.scratch / self.tools.token()
        path.write_text(held.text)
        return Fetched(path, name, version=f"{held.version}{self.options.template}", temporary=True, labels=held.labels)

    def _item(self, name: str) -> Item:
        held = self.place.held[name]
        version = f"{held.version}{self.options.template}"
        return Item(f"{self.name}/{name}", name, version, len(held.text), held.modified)


class FedSource(FakeSource):
    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        self.place.listings.append(f"since {cursor}")
        if self.place.expired:
            raise CursorExpired("the feed begins later")
        end = len(self.place.feed)
        for number, name in list(self.place.feed):
            if number > int(cursor) - self.place.again and number not in self.place.untold:
                yield self._item(name) if name in self.place.held else Gone(f"{self.name}/{name}")
        yield Mark(str(end))


class _Fake:
    name = "fake"
    version = "fake/1"
    options: type[SourceOptions] = FakeOptions

    def open(self, name: str, options: FakeOptions, tools: Tools) -> FakeSource:
        return (FedSource if options.fed else FakeSource)(name, options, tools)


CONNECTOR = _Fake()


def busy(reason: str = "throttled", after: float = 0.0) -> Callable[[], RetryLater]:
    return lambda: RetryLater("slow down", after, reason=reason, retries=3)
