"""What the index should hold, as plain dicts, and the answers that follow from it by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from penstock.index.commits.commit import Delta
from penstock.index.types import DocState
from tests.index.world import vector


@dataclass(frozen=True, slots=True)
class Doc:
    """One document: what was said of it, and the words that are served for it, one chunk each."""

    status: str
    content: str
    served: tuple[str, ...] = ()


Docs = Mapping[str, Doc]


def wanted(state: DocState, now: Doc | None) -> Doc | None:
    """What a delta wants of one document, given what there is. None: it is gone."""
    match state.status:
        case "deleted":
            return None
        case "failed":
            return Doc("failed", state.content, now.served if now else ())
        case "indexed":
            return Doc("indexed", state.content, tuple(state.content.split()))
        case status:
            return Doc(status, state.content)


def apply(delta: Delta, base: Docs, head: Docs) -> tuple[dict[str, Doc], frozenset[str]]:
    """The head with the delta applied, and the uris that it has to give up: others changed them since the base."""
    docs, dropped = dict(head), set()
    for state in delta.states:
        now = head.get(state.uri)
        want = wanted(state, now)
        if now != base.get(state.uri) and want != now:
            dropped.add(state.uri)
        elif want is None:
            docs.pop(state.uri, None)
        else:
            docs[state.uri] = want
    return docs, frozenset(dropped)


def states(docs: Docs) -> list[tuple[str, str, str, int]]:
    """(uri, status, content, chunks) of every document, by uri."""
    return [(uri, doc.status, doc.content, len(doc.served)) for uri, doc in sorted(docs.items())]


def said(found: Iterable[DocState]) -> list[tuple[str, str, str, int]]:
    """The same of what a reader says."""
    return [(state.uri, state.status, state.content, state.chunks) for state in found]


def answer(docs: Docs, query: np.ndarray, k: int) -> list[tuple[str, str, str]]:
    """(uri, chunk id, text) of the k best: every live vector scored in float64, ties by chunk id."""
    scored = []
    for uri, doc in docs.items():
        for place, word in enumerate(doc.served):
            score = float(np.add.reduce(known(uri, word).astype(np.float64) * query.astype(np.float64)))
            scored.append((-score, f"{uri}#{place}", uri, word))
    return [(uri, chunk, word) for _, chunk, uri, word in sorted(scored)[:k]]


@lru_cache(maxsize=100_000)
def known(uri: str, word: str) -> np.ndarray:
    return vector(uri, word)
