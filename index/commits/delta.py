"""What a writer asks for: new states, vectors, rows, texts and sources, planned against one version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from penstock.index.types import DocState, DocText, Row, SourceState, SpaceRef

STATUSES = ("indexed", "rejected", "failed", "deleted")


def _no_rows() -> Iterator[Row]:
    return iter(())


def _no_texts() -> Iterator[DocText]:
    return iter(())


def as_it_is(space: SpaceRef) -> SpaceRef:
    return space


@dataclass(frozen=True, slots=True)
class Delta:
    """One commit's worth of change. The callables may be called more than once and must answer the same.

    `vectors`: float32 (n, dim), unit norm, may be a memmap; None or n = 0 makes a state-only commit. `rows`
    follow the vectors, one document's rows together, and belong to documents that `states` calls indexed,
    `chunks` rows each; an indexed document without any row keeps the rows that it has (touched, not changed),
    and must be what the index serves. `texts` ascend by uri. A source that maps to None is removed: then
    `states` must call all its documents deleted. `join` is asked on each head that the vectors are to join: given the
    space as it is there (a new one if there is none), it answers with `canaries` and `baseline` as they are to be, or
    raises, and nothing is committed.
    """

    base_version: int
    states: Sequence[DocState]
    vectors: NDArray[np.float32] | None = None
    rows: Callable[[], Iterable[Row]] = _no_rows
    texts: Callable[[], Iterable[DocText]] = _no_texts
    sources: Mapping[str, SourceState | None] = field(default_factory=dict)
    space: str = "default"
    identity: Mapping[str, str] = field(default_factory=dict)
    dim: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[SpaceRef], SpaceRef] = as_it_is

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.states or self.sources)


@dataclass(frozen=True, slots=True)
class Committed:
    """The version that holds the delta, and the uris left out because somebody else changed them meanwhile.

    `made`: this commit made that version; else nothing of the delta was left to do, and it may be anybody's.
    """

    version: int
    dropped: tuple[str, ...] = ()
    made: bool = field(default=True, compare=False)


def check(delta: Delta) -> None:
    """Raise `ValueError` for a delta that contradicts itself."""
    uris = [state.uri for state in delta.states]
    if len(set(uris)) != len(uris):
        twice = sorted(uri for uri in set(uris) if uris.count(uri) > 1)[0]
        raise ValueError(f"a delta names {twice} twice")
    for state in delta.states:
        if state.status not in STATUSES:
            raise ValueError(f"{state.uri} has status {state.status!r}, not one of {', '.join(STATUSES)}")
    if delta.vectors is not None and len(delta.vectors) and delta.vectors.shape[1] != delta.dim:
        raise ValueError(f"vectors are {delta.vectors.shape[1]} wide, the delta says {delta.dim}")


def check_places(delta: Delta, counts: Mapping[str, int]) -> None:
    """Raise `ValueError` unless each document has exactly the rows that its state says, or none at all."""
    said = {state.uri: state.chunks for state in delta.states if state.status == "indexed"}
    for uri in sorted(counts):
        if said.get(uri, 0) != counts.get(uri, 0):
            raise ValueError(f"{uri} has {counts.get(uri, 0)} rows, its state says {said.get(uri, 0)} chunks")
