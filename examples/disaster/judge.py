"""What became of it all: every figure is counted, in the index and in the logs of wiki and model; none is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.disaster.world import Model
from penstock.index import Reader
from penstock.index.types import DocState
from tests.fakes.rough.ledger import Ledger

STATES = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")
IN_HAND = 3.0
"""Seconds before a kill: what came then may have been under way to the spool, which is written every two seconds."""


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
    """Documents whose body the wiki delivered again, though it had come long before a kill."""
    arrived: dict[str, list[float]] = {}
    for seen in ledger.seen:
        if seen.delivered and seen.document:
            arrived.setdefault(seen.document, []).append(seen.ended)
    again = [times for times in arrived.values() for _ in times[1:]]
    unexcused = _unexcused(arrived.values(), kills)
    said = f"{unexcused} of {len(arrived)}, and {len(again) - unexcused} that were in hand at a kill"
    return Figure("fetched twice", said, unexcused == 0)


def of_paying(model: Model, texts: Iterable[str], kills: Sequence[float]) -> Figure:
    """Tokens of passages that the model was asked for again, though it had answered long before a kill."""
    passages, answered = set(texts), dict[str, list[float]]()
    tokens: dict[str, int] = {}
    for asked in model.asked:
        for text in asked.texts if asked.status == 200 else ():
            if text in passages:
                answered.setdefault(text, []).append(asked.at)
                tokens[text] = model.tokens(text)
    total = sum(tokens.values())
    again = sum(tokens[text] * (len(times) - 1) for text, times in answered.items())
    unexcused = sum(tokens[text] * _unexcused([times], kills) for text, times in answered.items())
    said = f"{unexcused} of {total:,}, and {again - unexcused} for answers that were in hand at a kill"
    return Figure("tokens paid twice", said, unexcused == 0 < total)


def _unexcused(repeated: Iterable[Sequence[float]], kills: Sequence[float]) -> int:
    """How many came again, though no kill followed within `IN_HAND` seconds of the time before."""
    count = 0
    for times in repeated:
        ordered = sorted(times)
        for before in ordered[:-1]:
            count += not any(before <= kill <= before + IN_HAND for kill in kills)
    return count


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
