"""What became of it all: every figure is counted, in the index and in the logs of wiki and model; none is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from examples.disaster.world import Model
from penstock.index import Reader
from penstock.index.types import DocState
from tests.fakes.rough.ledger import Ledger

STATES = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")
IN_HAND = 48
"""Documents of a source that a run works on at once, and so may lose to a kill: 32, and a few for each parser."""
UNSPOOLED = 4.0
"""Seconds: vectors go to the spool every two, and the machine has other things to do."""
LATE = 1.0
"""Seconds by which a server may hear later that its client is dead."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a home holds. `rows`: (uri, start, end, text) of every passage that is served, as often as it is."""

    states: Mapping[str, DocState]
    rows: Counter[tuple[str, int, int, str]]

    def facts(self) -> dict[str, tuple[str, str, str]]:
        """Of each document: its state, its version at the source, and the digest of its content."""
        return {uri: (state.status, state.version, state.content) for uri, state in self.states.items()}


def read(home: Path) -> Index:
    """Everything in the index of a home."""
    with Reader.open(home) as reader:
        states = {state.uri: state for state in reader.states()}
        total = reader.manifest.counts.get("chunks", 0)
        anything = np.ones((1, 384), np.float32)
        hits = reader.search(anything, k=total + 100, exact=True)[0] if total else []
    return Index(states, Counter((hit.uri, hit.start, hit.end, hit.text) for hit in hits))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the closing screen. `good`: whether it is what it must be."""

    name: str
    said: str
    good: bool


def of_account(account: Mapping[str, Any]) -> Figure:
    """Every document that was listed is in exactly one state."""
    total = sum(account[state] for state in STATES)
    parts = " + ".join(f"{account[state]} {state}" for state in STATES if account[state])
    return Figure("listed = sum of states", f"{account['listed']} = {parts}", account["listed"] == total > 0)


def of_content(mine: Index, clean: Index) -> list[Figure]:
    """Nothing is missing, nothing is there twice, nothing is old: against the home that nothing ever befell."""
    facts, expected = mine.facts(), clean.facts()
    whole = [uri for uri, fact in expected.items() if fact[0] == "indexed"]
    missing = [uri for uri in whole if facts.get(uri, ("",))[0] != "indexed"]
    missing += [row[0] for row in clean.rows if row not in mine.rows]
    twice = mine.rows.total() - len(mine.rows)
    stale = [uri for uri in facts if uri in expected and facts[uri] != expected[uri]]
    stale += [uri for uri in facts if uri not in expected]
    return [
        Figure("missing", f"{len(missing)} of {len(whole)} documents, {clean.rows.total()} passages", not missing),
        Figure("duplicates", f"{twice}", not twice),
        Figure("stale", f"{len(stale)}", not stale),
    ]


def of_fetching(ledger: Ledger, kills: Sequence[float]) -> Figure:
    """Documents whose body the wiki delivered again, and no kill explains: it loses what is in hand, and no more."""
    arrived: dict[str, list[float]] = {}
    for seen in ledger.seen:
        if seen.delivered and seen.document:
            arrived.setdefault(seen.document, []).append(seen.ended)
    explained, again = Counter[float](), 0
    for before, after in _repeated(arrived.values()):
        kill = next((kill for kill in reversed(kills) if before - LATE < kill < after), None)
        again += 1
        explained[kill or 0.0] += kill is not None
    excused = sum(min(count, IN_HAND) for count in explained.values())
    said = f"{again - excused} of {len(arrived)}; {excused} were in hand at a kill"
    return Figure("fetched twice", said, again == excused and bool(arrived))


def of_paying(model: Model, texts: Set[str], kills: Sequence[float]) -> Figure:
    """Tokens of passages that the model was asked for again, though its answer had come long enough before a kill."""
    answered: dict[str, list[float]] = {}
    for at, asked in model.answered:
        for text in texts & set(asked):
            answered.setdefault(text, []).append(at)
    total = sum(model.tokens(text) for text in answered)
    again = excused = 0
    for text, times in answered.items():
        for before, after in _repeated([times]):
            again += model.tokens(text)
            near = any(before - LATE < kill < min(after, before + UNSPOOLED) for kill in kills)
            excused += model.tokens(text) if near else 0
    said = f"{again - excused} of {total:,}; {excused:,} came in the last seconds before a kill"
    return Figure("tokens paid twice", said, again == excused and total > 0)


def _repeated(times: Iterable[Sequence[float]]) -> Iterator[tuple[float, float]]:
    """Each time with the one before it."""
    return (pair for each in times for pair in pairwise(sorted(each)))


def of_deletions(accounts: Iterable[Mapping[str, Any]], before: Index, mine: Index) -> Figure:
    """Nothing was removed at the wiki, so nothing may go from the index."""
    deleted = sum(account["deleted"] for account in accounts)
    gone = [uri for uri in before.states if uri not in mine.states]
    return Figure("wrongly deleted", f"{max(deleted, len(gone))}", not deleted and not gone)


def of_hits(mine: Sequence[Any], clean: Sequence[Any]) -> Figure:
    """The same passages in the same order with the same scores, to the last bit."""
    same = sum(one == other for one, other in zip(mine, clean, strict=True))
    hits = sum(len(one["hits"]) for one in clean)
    return Figure(
        "hits as in a clean build", f"{same} of {len(clean)} questions, {hits} hits", same == len(clean) and hits > 0
    )
