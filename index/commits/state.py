"""Document state and parsed texts: sorted immutable runs, of which the later hides the earlier.

Runs are merged like the digits of a counter: a commit merges the newest ones that are no larger than
twice what came after them. So n documents lie in O(log n) runs, and each is rewritten O(log n) times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from pathlib import Path

import msgspec

from penstock.index.blobs.blob import open_blob, seal
from penstock.index.blobs.table import Table, write
from penstock.index.decoding import decoder
from penstock.index.errors import Corrupt
from penstock.index.stores.store import Store
from penstock.index.types import DocState, DocText, RunRef

DELETED = "deleted"
_encoder = msgspec.json.Encoder()
_state = decoder(DocState)
_text = decoder(DocText)


def write_run(workdir: Path, states: Iterable[DocState], txn: str) -> tuple[RunRef, Path]:
    """Write and seal a run of states, strictly ascending by uri (`ValueError` if not). Streams."""
    return _write(workdir, "state", states, txn)


def write_texts(workdir: Path, texts: Iterable[DocText], txn: str) -> tuple[RunRef, Path]:
    """Write and seal a table of texts, strictly ascending by uri (`ValueError` if not). Streams."""
    return _write(workdir, "texts", texts, txn)


def _write(workdir: Path, what: str, records: Iterable[DocState] | Iterable[DocText], txn: str) -> tuple[RunRef, Path]:
    part = workdir / f"{what}.{txn}.part"
    part.unlink(missing_ok=True)  # left by a run that was killed here
    count = write(part, ((record.uri, _encoder.encode(record)) for record in records))
    blob = seal(part, txn)
    return RunRef(blob, count), part.rename(workdir / blob.name)


def merge_plan(runs: Sequence[RunRef], incoming: int = 1) -> int:
    """Return how many of the newest `runs` (oldest first) a commit of `incoming` states should merge in.

    Every run that stays is more than twice as large as all that is newer, the new run included.
    """
    planned, newer = 0, incoming
    for place, run in enumerate(reversed(runs), start=1):
        if run.count <= 2 * newer:
            planned = place
        newer += run.count
    return planned


class StateView:
    """Document state as one version has it: `runs` oldest first, read through `stores`, verified.

    All methods may be repeated. They raise what `open_blob` raises.
    """

    def __init__(self, runs: Sequence[RunRef], stores: Sequence[Store], report: Callable[[str], None]) -> None:
        self._runs = _Runs(runs, stores, report)

    def find(self, uris: Iterable[str]) -> dict[str, DocState]:
        """Return the states of those uris that have one."""
        found = self._runs.find(uris)
        states = {uri: _state.decode(record) for uri, record in found.items()}
        return {uri: state for uri, state in states.items() if state.status != DELETED}

    def scan(self, source: str | None = None) -> Iterator[DocState]:
        """Yield every state (of one source, if named), by uri. Streams."""
        for _, record in self._runs.scan():
            state = _state.decode(record)
            if state.status != DELETED and source in (None, state.source):
                yield state

    def merged(self, runs: Sequence[RunRef], newest: Iterable[DocState], last_level: bool) -> Iterator[DocState]:
        """Yield what a run that replaces `runs` and adds `newest` (ascending by uri) must hold.

        `deleted` entries are kept, because they hide older ones, unless `last_level` says that the oldest
        run of all is among `runs` and there is nothing left to hide.
        """
        fresh = ((state.uri, _encoder.encode(state)) for state in newest)
        for _, record in self._runs.only(runs).scan(fresh):
            state = _state.decode(record)
            if not (last_level and state.status == DELETED):
                yield state


class TextView:
    """Parsed texts as one version has them. A deleted document's text may still be here: ask the state."""

    def __init__(self, runs: Sequence[RunRef], stores: Sequence[Store], report: Callable[[str], None]) -> None:
        self._runs = _Runs(runs, stores, report)

    def find(self, uris: Iterable[str]) -> dict[str, DocText]:
        """Return the texts of those uris that have one."""
        return {uri: _text.decode(record) for uri, record in self._runs.find(uris).items()}

    def scan(self) -> Iterator[DocText]:
        """Yield every text, by uri. Streams."""
        return (_text.decode(record) for _, record in self._runs.scan())


class _Runs:
    """Tables by uri, oldest first, of which the later hides the earlier."""

    def __init__(self, runs: Sequence[RunRef], stores: Sequence[Store], report: Callable[[str], None]) -> None:
        self._runs, self._stores, self._report = tuple(runs), tuple(stores), report
        self._tables: dict[RunRef, Table] = {}

    def only(self, runs: Sequence[RunRef]) -> _Runs:
        return _Runs(runs, self._stores, self._report)

    def find(self, uris: Iterable[str]) -> dict[str, bytes]:
        missing, found = set(uris), dict[str, bytes]()
        for run in reversed(self._runs):
            if not missing:
                break
            here = self._table(run).find(missing)
            found.update(here)
            missing.difference_update(here)
        return found

    def scan(self, newest: Iterable[tuple[str, bytes]] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (uri, newest record), ascending; `newest` hides all runs."""
        levels: list[Iterable[tuple[str, bytes]]] = [self._table(run) for run in self._runs]
        if newest is not None:
            levels.append(newest)
        if len(levels) == 1:
            yield from levels[0]
            return
        last = None
        for uri, _, record in merge(*(_ranked(level, -age) for age, level in enumerate(levels))):
            if uri != last:
                yield uri, record
            last = uri

    def _table(self, run: RunRef) -> Table:
        if run not in self._tables:
            found = Table(open_blob(self._stores, run.blob, report=self._report))
            if len(found) != run.count or not found.keyed:
                raise Corrupt(f"blob {run.blob.name}: is not the run of {run.count}; run penstock verify")
            self._tables[run] = found
        return self._tables[run]


def _ranked(level: Iterable[tuple[str, bytes]], rank: int) -> Iterator[tuple[str, int, bytes]]:
    """Give each record its level's rank: of equal uris the newest sorts first, and records never compare."""
    return ((uri, rank, record) for uri, record in level)
