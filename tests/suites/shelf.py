"""A source in memory that keeps the whole contract, and that can be told to break one promise of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.connectors.connector import SourceOptions, Tools
from penstock.connectors.http.types import Outcome
from penstock.connectors.types import (
    CursorExpired,
    Fetched,
    Gap,
    Gone,
    Item,
    Mark,
    RejectItem,
    RetryLater,
    StopSource,
)
from tests.fakes.tools import Kit
from tests.suites.source_bench import NAMES, Bench

PAGE = 7
SECRET = "s3cret/of+the=shelf"


class Shelf:
    """The far side: entries by name, and a number that grows with each change."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.gone: dict[str, int] = {}
        self.clock = self.asked = self.oldest = 0
        self.state = "well"
        self.cut_in = -1
        self.for_ever = False

    def ask(self) -> None:
        """One request. Raises what a client would see."""
        self.asked += 1
        self.cut_in -= 1
        if self.cut_in == 0 or (self.for_ever and self.cut_in < 0 <= self.cut_in + 1000):
            raise ConnectionError("reset")
        if self.state == "refused":
            raise PermissionError(f"the key {SECRET} is not known")
        if self.state != "well":
            raise ConnectionError(self.state)


class ShelfOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    place: str

    def binding(self) -> str:
        return self.place


class ShelfSource:
    def __init__(self, name: str, shelf: Shelf, tools: Tools, defect: str) -> None:
        self.name, self._shelf, self._tools, self._defect = name, shelf, tools, defect
        self._flaps = itertools.count()

    def list(self) -> Iterator[Item | Gap | Mark]:
        if self._defect != "late mark":
            yield Mark(self._cursor())
        found = self._pages()
        if self._defect == "eager":
            found = iter([*found])
        for number, name in enumerate(found):
            yield self._item(name)
            if self._defect == "twice" and number == 3:
                yield self._item(name)
        if self._defect == "late mark":
            yield Mark(self._cursor())

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20) or int(cursor) < self._shelf.oldest:
            raise CursorExpired("too old: list everything")
        mark = self._cursor()
        self._ask()
        for name, entry in [*self._shelf.entries.items()]:
            if entry["stamp"] > int(cursor) and name in self._shelf.entries:
                yield self._item(name)
        for name, stamp in [*self._shelf.gone.items()]:
            if stamp > int(cursor) and (self._defect == "gone again" or name not in self._shelf.entries):
                yield Gone(f"{self.name}/{name}")
        yield Mark(self._cursor() if self._defect == "mark passes over" else mark)

    def fetch(self, item: Item) -> Fetched:
        name = item.locator
        self._ask()
        entry = self._shelf.entries.get(name)
        if entry is None:
            raise KeyError(name) if self._defect == "not missing" else FileNotFoundError(name)
        if entry.get("fault"):
            raise RetryLater(f"not let in: {item.uri}", reason="forbidden")
        text = entry["text"].encode()
        if len(text) > self._tools.max_bytes:
            raise RejectItem("too large", reason="too_large")
        path = self._tools.scratch / ("same" if self._defect == "one file" else self._tools.token())
        path.write_bytes(text)
        version = item.version if self._defect == "listed token" else self._item(name).version
        return Fetched(path=path, name="it.txt", version=version, temporary=True,
                       metadata={"note": entry["note"]}, labels=entry["labels"])  # fmt: skip

    def _pages(self) -> Iterator[str]:
        after, offset = "", 0
        while True:
            try:
                self._ask()
            except RetryLater:
                if self._defect == "short":
                    return
                raise
            if self._defect == "offset":
                page = sorted(self._shelf.entries)[offset : offset + PAGE]
            else:
                page = sorted(name for name in self._shelf.entries if name > after)[:PAGE]
            yield from (name for name in page if name in self._shelf.entries)
            if len(page) < PAGE:
                return
            after, offset = page[-1], offset + PAGE

    def _item(self, name: str) -> Item:
        entry = self._shelf.entries.get(name, {"stamp": 0, "text": ""})
        version = {"constant": "1", "flapping": f"{next(self._flaps)}-{id(self)}"}.get(
            self._defect, str(entry["stamp"])
        )
        return Item(uri=f"{self.name}/{name}", locator=name, version=version)

    def _cursor(self) -> str:
        self._ask()
        return str(self._shelf.clock)

    def _ask(self) -> None:
        if self._defect == "no permit":
            self._shelf.ask()
            return
        assert self._tools.budget is not None
        with self._tools.budget.request() as permit:
            try:
                self._shelf.ask()
            except PermissionError as error:
                if self._defect == "wrong class":
                    raise RetryLater("refused") from None
                if self._defect == "secret in a cause":
                    raise StopSource("the key is not known") from error
                refused = True
            except ConnectionError as error:
                refused, lost = False, str(error)
                permit.done(Outcome("failed"))
            else:
                permit.done(Outcome("ok"))
                return
        if refused:
            raise StopSource("the key is not known")
        if lost == "lost" and self._defect == "empty when lost":
            self._shelf.entries.clear()
            return
        raise RetryLater("the connection was lost")


class ShelfBench(Bench):
    secret = SECRET
    names = NAMES
    faults = {"forbidden": (RetryLater, "forbidden")}

    def __init__(self, folder: Path, defect: str = "") -> None:
        self.shelf = Shelf()
        self.kit = Kit(folder / "scratch", max_bytes=self.max_bytes)
        self.options = {"place": "shelf"}
        shelf = self.shelf

        class Connector:
            name, version = "shelf", "shelf/1"
            options: type[SourceOptions] = ShelfOptions

            def open(self, name: str, options: Any, tools: Tools) -> ShelfSource:
                return ShelfSource(name, shelf, tools, defect)

        self.connector = Connector()

    def put(self, name: str, text: str) -> None:
        entry = self.shelf.entries.setdefault(name, {"note": "", "labels": ()})
        self._touch(name, text=text, note=entry["note"])

    def _touch(self, name: str, **changed: Any) -> None:
        self.shelf.clock += 1
        self.shelf.entries[name].update(changed, stamp=self.shelf.clock)

    def delete(self, name: str) -> None:
        self.shelf.clock += 1
        self.shelf.gone[name] = self.shelf.clock
        del self.shelf.entries[name]

    def rename(self, old: str, new: str) -> None:
        text = self.shelf.entries[old]["text"]
        self.delete(old)
        self.put(new, text)

    def describe(self, name: str, value: str) -> None:
        self._touch(name, note=value)

    def label(self, name: str, reader: str) -> None:
        self._touch(name, labels=(reader,))

    def requests(self) -> int:
        return self.shelf.asked

    def cut_listing(self, *, for_ever: bool) -> None:
        self.shelf.cut_in, self.shelf.for_ever = 4, for_ever

    def hide(self, name: str) -> None:
        self.shelf.state = "hidden"

    def lose(self) -> None:
        self.shelf.state = "lost"

    def refuse(self) -> None:
        self.shelf.state = "refused"

    def disconnect(self) -> None:
        self.shelf.state = "away"

    def mend(self) -> None:
        self.shelf.state, self.shelf.cut_in, self.shelf.for_ever = "well", -1, False

    def spoil(self, name: str, fault: str) -> None:
        self._touch(name, fault=fault)

    def expire(self, cursor: str) -> None:
        self.shelf.oldest = int(cursor) + 1
