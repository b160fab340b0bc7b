"""A run as people see it in Prefect while it goes on.

    run ──▶ Live ──▶ Figures, Series, Newsroom      counting, in the run's threads
              └────▶ Aside ──▶ Board, emit          telling Prefect, on a thread of its own

Nothing here can hold up a run: what cannot be told in time is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.flows.answers.progress import Observer
from penstock.flows.runs.events import CommitLanded, Event, Listed, RunStarted, ShardPrepared
from penstock.flows.telling.aside import Aside
from penstock.flows.telling.board import Board
from penstock.flows.telling.figures import Figures
from penstock.flows.telling.news import News, Newsroom
from penstock.flows.telling.plot import data_uri, svg
from penstock.flows.telling.series import Series

Send = Callable[[News], object]
PLOT_EVERY = 12
"""Ticks from one picture to the next: each is kept by the server as an event too. The last tick always draws."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for the last of it to be told."""


class Live:
    """Listens to a run and watches its progress. `close` when it is over.

    `clock` gives seconds since 1970, `monotonic` seconds; `every`: seconds between two updates; `send` emits one event.
    """

    def __init__(
        self,
        board: Board,
        send: Send,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        every: float = 10.0,
    ) -> None:
        self._board, self._send, self._clock = board, send, clock
        self._figures, self._news = Figures(clock), Newsroom(clock)
        self._series = Series(clock())
        self._sources: dict[str, None] = {}
        self._priority = ""
        self._ticks = 0
        self._closed = False
        self._aside = Aside(self._tick, monotonic, every)

    def heard(self, event: Event) -> None:
        """A listener."""
        self._figures.heard(event)
        match event:
            case RunStarted():
                self._priority = event.priority
            case Listed():
                self._sources[event.source] = None
            case ShardPrepared():
                self._series.add("prepared", event.tokens, self._clock(), event.seconds)
            case CommitLanded():
                self._series.committed(self._clock())
                self._aside.soon()
        self.tell(self._news.heard(event))

    def watching(self, observer: Observer) -> Observer:
        """`observer`, overheard: it says more often than the events do how far the embedding is."""
        return _Watched(observer, self._figures, self._series, self._clock)

    def tell(self, news: Sequence[News]) -> None:
        """Send these, when it is their turn."""
        for one in news:
            self._aside.put(lambda one=one: self._send(one))  # type: ignore[misc]

    def close(self, patience: float = PATIENCE) -> bool:
        """Tell the end; False if that took too long and is left. May be called again."""
        if not self._closed:
            self._closed = True
            self.tell(self._news.last())
        return self._aside.close(patience)

    def _tick(self, last: bool) -> None:
        self._ticks += 1
        for one in self._news.rest():
            self._send(one)
        if self._sources:
            _quietly(lambda: self._board.tag(list(self._sources), self._priority))
        if self._figures.planned_any:  # of a run that found nothing to do, nobody wants to see how far it is
            _quietly(lambda: self._board.progress(self._figures.share(), self._figures.line()))
        if last or self._ticks % PLOT_EVERY == 0:
            samples = self._series.samples(self._clock())
            if any(rate for rates in samples.rates.values() for rate in rates) or samples.commits:
                self._board.plot(data_uri(svg(samples)))


def _quietly(job: Callable[[], object]) -> None:
    """What one call could not tell must not keep the next one from telling."""
    try:
        job()
    except Exception:
        return


class _Watched:
    """An observer that hands everything on, and lets the figures count it."""

    def __init__(self, observer: Observer, figures: Figures, series: Series, clock: Callable[[], float]) -> None:
        self._observer, self._figures, self._series, self._clock = observer, figures, series, clock

    def stage(self, name: str) -> None:
        self._figures.stage(name)
        self._observer.stage(name)

    def planned(self, documents: int, bytes_: int) -> None:
        self._figures.planned(documents)
        self._observer.planned(documents, bytes_)

    def advanced(self, documents: int, tokens: int) -> None:
        self._figures.advanced(documents, tokens)
        if tokens:
            self._series.add("embedded", tokens, self._clock())
        self._observer.advanced(documents, tokens)

    def reused(self, tokens: int) -> None:
        self._figures.advanced(0, 0, tokens)
        self._observer.reused(tokens)

    def committed(self, version: int) -> None:
        self._figures.committed(version)
        self._observer.committed(version)

    def note(self, message: str) -> None:
        self._observer.note(message)

    def finished(self) -> None:
        self._observer.finished()
