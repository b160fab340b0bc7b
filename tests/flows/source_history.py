"""Two sources that live: documents come, change, move and go, listings lie, fetches fail; all of it is kept in mind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.connectors.types import RetryLater, StopSource
from tests.fakes import source as fake
from tests.fakes.source import Held, Place

REASONS = ("throttled", "server_error", "timed_out", "unreachable", "garbled", "forbidden")
TEXTS = (
    "the same words that several documents say",
    "   ",
    "odd: what no parser of the first version reads",
    *(
        " ".join(f"Sentence {part} of story {story} is told here." for part in range(20 + 40 * story))
        for story in range(4)
    ),
)


@dataclass
class Lived:
    """One source and everything that it ever held: name -> version -> what it was."""

    name: str
    fed: bool
    place: Place
    ever: dict[str, dict[str, Held]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(name, version) at each attempt to fetch, in this run."""
    lied: set[str] = field(default_factory=set)
    """Names that some listing ever left out though they were there."""

    def remember(self) -> None:
        for name, held in self.place.held.items():
            self.ever.setdefault(name, {})[held.version] = held


class History:
    """Makes the sources live, by `dice`. `ask` is called before each fetch."""

    def __init__(self, dice: random.Random, ask: Callable[[], None]) -> None:
        self.dice, self.ask, self.made = dice, ask, 0
        fake.PLACES.clear()
        self.sources = [Lived(name, name == "far", fake.at(name)) for name in ("far", "near")]
        for each in self.sources:
            each.place.meanwhile = self._meanwhile(each)
        self.unsteady: dict[str, str] = {}
        """Names that change when they are fetched next, and what they say then."""

    def begin(self, documents: int) -> None:
        """So many documents are there."""
        for _ in range(documents):
            self._put(self.dice.choice(self.sources))

    def live(self, most: int) -> None:
        """Up to so many things happen at the sources."""
        for _ in range(self.dice.randint(0, most)):
            source = self.dice.choice(self.sources)
            acts = [self._put, self._put, self._change, self._change, self._drop, self._move, self._relabel]
            self.dice.choice(acts)(source)
        for source in self.sources:
            source.remember()

    def trouble(self) -> None:
        """What will go wrong in the next run."""
        for source in self.sources:
            place, dice = source.place, self.dice
            for name in place.held:
                if dice.random() < 0.12:
                    reason, after = dice.choice(REASONS), dice.choice([0.0, 0.0, 300.0, 7_000.0])
                    place.faults.setdefault(name, []).append(RetryLater("not now", after, reason=reason))
                elif dice.random() < 0.05:
                    self.unsteady[name] = dice.choice([*TEXTS, f"{name} says {dice.random()} by now"])
                elif dice.random() < 0.02:
                    place.faults.setdefault(name, []).append(FileNotFoundError(name))
            what = dice.random()
            some = set(dice.sample(sorted(place.held), min(len(place.held), dice.randint(0, 3))))
            place.down_after = len(place.fetched) + dice.randint(0, 6) if what < 0.10 else None
            place.unlisted = StopSource("closed today") if 0.10 < what < 0.14 else None
            place.cut_after = dice.randint(0, 8) if 0.14 < what < 0.18 else None
            place.gap = "b/" if 0.18 < what < 0.25 else ""
            place.left_out = set(place.held) if 0.25 < what < 0.28 else some if what > 0.9 else set()
            source.lied |= place.left_out
            place.twice = some if what < 0.3 else set()
            place.expired, place.again = what > 0.95, dice.choice([0, 0, 3])

    def peace(self) -> None:
        """Everything works from now on."""
        self.unsteady.clear()
        for source in self.sources:
            place = source.place
            place.faults, place.left_out, place.twice = {}, set(), set()
            place.down_after = place.unlisted = place.cut_after = None
            place.gap, place.expired, place.again = "", False, 0

    def _put(self, source: Lived) -> None:
        self.made += 1
        self._say(source, f"{self.dice.choice('abc')}/{self.made:03}.md")

    def _change(self, source: Lived) -> None:
        if source.place.held:
            self._say(source, self.dice.choice(sorted(source.place.held)))

    def _say(self, source: Lived, name: str) -> None:
        place, dice = source.place, self.dice
        text = dice.choice(TEXTS) if dice.random() < 0.5 else f"{name} says {dice.random()}. {dice.choice(TEXTS)}"
        before = place.held.get(name)
        labels = before.labels if before else dice.choice([(), ("board",)])
        place.put(name, text, modified=dice.choice([None, 1_000.0, 2_000.0]), labels=labels)
        if dice.random() < 0.1:
            place.untold.add(len(place.feed))
        if dice.random() < 0.05:
            place.refused.add(place.held[name].version)

    def _drop(self, source: Lived) -> None:
        if source.place.held:
            source.place.drop(self.dice.choice(sorted(source.place.held)))
            if self.dice.random() < 0.2:
                source.place.untold.add(len(source.place.feed))

    def _move(self, source: Lived) -> None:
        if source.place.held:
            place, name = source.place, self.dice.choice(sorted(source.place.held))
            held = place.held[name]
            self.made += 1
            place.put(f"{name[:2]}{self.made:03}.md", held.text, "", held.modified, held.labels)
            place.drop(name)

    def _relabel(self, source: Lived) -> None:
        if source.place.held:
            name = self.dice.choice(sorted(source.place.held))
            held = source.place.held[name]
            labels = self.dice.choice([(), ("board",), ("all", "staff")])
            source.place.put(name, held.text, "", held.modified, labels)

    def _meanwhile(self, source: Lived) -> Callable[[str], None]:
        def meanwhile(name: str) -> None:
            self.ask()
            held = source.place.held.get(name)
            source.asked.append((name, held.version if held else ""))
            text = self.unsteady.pop(name, None) if held else None
            if held and text is not None:
                source.place.put(name, text, "", held.modified, held.labels)
                source.remember()

        return meanwhile
