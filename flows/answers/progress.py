"""What a run tells the person who waits for it.

An observer never raises and never slows the run: it counts, and draws when it is its time to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from penstock.flows.answers.notes import Said, once_named
from penstock.flows.answers.render import duration, plain, spared

if TYPE_CHECKING:
    from rich.progress import Progress


class Observer(Protocol):
    """Called by the run, from its own thread. `planned` may be called again as more becomes known."""

    def stage(self, name: str) -> None:
        """The run now does `name` (`listing`, `embedding`, …)."""

    def planned(self, documents: int, bytes_: int) -> None:
        """In all, so many documents and source bytes are to be done; bytes are -1 when not known."""

    def advanced(self, documents: int, tokens: int) -> None:
        """So many more documents and embedded tokens are done."""

    def reused(self, tokens: int) -> None:
        """So many more tokens need not be embedded: their vectors are there."""

    def committed(self, version: int) -> None:
        """This version is acknowledged: what was done until now is safe and searchable."""

    def note(self, message: str) -> None:
        """Something a person should read, one line. The same line is not repeated before the next commit."""

    def finished(self) -> None:
        """The run is over, well or not. May be called more than once."""


class Quiet:
    """Says nothing."""

    def stage(self, name: str) -> None:
        pass

    def planned(self, documents: int, bytes_: int) -> None:
        pass

    def advanced(self, documents: int, tokens: int) -> None:
        pass

    def reused(self, tokens: int) -> None:
        pass

    def committed(self, version: int) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def finished(self) -> None:
        pass


class Lines:
    """For logs and pipes: notes at once, and at most one line of progress every `every` seconds."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float], every: float = 10.0) -> None:
        self._out = out
        self._monotonic = monotonic
        self._every = every
        self._said = monotonic()
        self._notes = Said()
        self._started: float | None = None
        self._total = self._documents = self._tokens = self._reused = self._version = 0
        self._stage = ""

    def stage(self, name: str) -> None:
        self._stage = name
        self._tick()

    def planned(self, documents: int, bytes_: int) -> None:
        self._total = documents
        self._tick()

    def advanced(self, documents: int, tokens: int) -> None:
        if self._started is None:  # loading the model is not a slow start of embedding
            self._started = self._monotonic()
        self._documents += documents
        self._tokens += tokens
        self._tick()

    def reused(self, tokens: int) -> None:
        self._reused += tokens
        self._tick()

    def committed(self, version: int) -> None:
        self._version = version
        self._notes.forget()
        self._tick()

    def note(self, message: str) -> None:
        line = once_named(message)
        if self._notes.new(line):
            self._write(line)

    def finished(self) -> None:
        pass

    def _tick(self) -> None:
        now = self._monotonic()
        if now - self._said < self._every:
            return
        self._said = now
        self._write(f"{self._stage or 'working'}: {self._figures(now)}")

    def _figures(self, now: float) -> str:
        """Documents stand still between commits, so tokens say that something goes on."""
        passed = now - (self._started if self._started is not None else now)
        figures = []
        if self._tokens:
            figures.append(f"{self._tokens:,} tokens")
        if self._tokens and passed > 0.5:
            figures.append(f"{self._tokens / passed:,.0f} tokens/s")
        if self._reused:
            figures.append(spared(self._reused, self._tokens))
        committed = [f"{self._documents:,} of {self._total:,} documents committed"] if self._total else []
        if self._version:
            committed.append(f"version {self._version}")
        return "; ".join(", ".join(part) for part in (figures, committed) if part) or "going on"

    def _write(self, line: str) -> None:
        try:
            self._out.write(f"penstock: {plain(line)}\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # whoever was reading has gone; the run goes on


class Live:
    """For a terminal: a bar with documents, tokens/s and time left. Starts to draw when it is made."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started: float | None = None
        self._documents = self._tokens = self._reused = 0
        self._total: int | None = None
        self._version = 0
        self._notes = Said()
        self._progress = _bar(out)
        self._task = self._progress.add_task("starting", total=None, figures="")
        self._progress.start()
        # A second Ctrl-C ends the process on the spot: it must not leave a terminal without a cursor.
        self._progress.console.show_cursor(True)

    def stage(self, name: str) -> None:
        self._progress.update(self._task, description=plain(name))

    def planned(self, documents: int, bytes_: int) -> None:
        self._total = documents
        self._progress.update(self._task, total=max(documents, 1))

    def advanced(self, documents: int, tokens: int) -> None:
        # The rate counts from the first result: loading the model is not a slow start of embedding.
        if self._started is None:
            self._started = self._monotonic()
        self._documents += documents
        self._tokens += tokens
        self._draw()

    def reused(self, tokens: int) -> None:
        self._reused += tokens
        self._draw()

    def committed(self, version: int) -> None:
        self._version = version
        self._notes.forget()
        self._draw()

    def note(self, message: str) -> None:
        from rich.markup import escape

        line = once_named(message)
        if self._notes.new(line):
            self._progress.console.print(escape(plain(line)), highlight=False)

    def finished(self) -> None:
        self._progress.stop()

    def _draw(self) -> None:
        passed = self._monotonic() - (self._started if self._started is not None else self._monotonic())
        figures = [f"{self._documents} of {self._total} documents" if self._total else ""]
        if passed > 0.5:
            figures.append(f"{self._tokens / passed:,.0f} tokens/s")
            if self._total and self._documents:
                left = passed / self._documents * (self._total - self._documents)
                figures.append(f"{duration(left)} left")
        if self._reused:
            figures.append(spared(self._reused, self._tokens))
        if self._version:
            figures.append(f"version {self._version}")
        shown = ", ".join(figure for figure in figures if figure)
        self._progress.update(self._task, completed=self._documents, figures=shown)


def _bar(out: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        console=Console(file=out, stderr=False),
        transient=True,
    )
