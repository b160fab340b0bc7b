"""A run's figures in a file for node_exporter, every few seconds and at its end.

A thread writes them: a folder that hangs, is full or read-only costs the run nothing. A run that is killed leaves its
last file, in which it has not ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from penstock.flows.metrics import exposition, textfile
from penstock.flows.metrics.gpu import Gpu
from penstock.flows.metrics.run_figures import RunFigures
from penstock.flows.metrics.textfile import Textfile
from penstock.flows.runs import events

LETTING_GO = 2.0
"""So many seconds the end of a run waits for its last figures to be written."""
MOST_SOURCES = 5


class RunMetrics:
    """A listener. `configured`: the names of the configured sources; `clock`: seconds since 1970; `gpus`: asked before
    each writing; `as_of`: how fresh each source is, once, when the run begins.

    A dry run leaves no figures: it would hide the last real run.
    """

    name = "[metrics] textfile"

    def __init__(
        self,
        folder: Path,
        configured: Collection[str],
        *,
        every: float,
        clock: Callable[[], float],
        gpus: Callable[[], Sequence[Gpu]],
        as_of: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._folder, self._configured = folder, frozenset(configured)
        self._every, self._clock, self._gpus, self._as_of = every, clock, gpus, as_of
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._figures: RunFigures | None = None
        self._thread: threading.Thread | None = None
        self._fault: OSError | None = None

    def __call__(self, event: events.Event) -> None:
        """Count it. Raises the `OSError` of the last writing when the run has ended: then it is said, once."""
        if isinstance(event, events.RunStarted):
            self._begin(event)
        with self._lock:
            if self._figures is None:
                return
            self._figures.told(event, self._clock())
        if isinstance(event, events.RunEnded):
            self._end()

    def _begin(self, started: events.RunStarted) -> None:
        if started.dry_run:
            return
        sources = of(started.targets, self._configured)
        self._figures = RunFigures(started, sources, self._as_of())
        file = Textfile(self._folder, Path(started.home), f"run:{started.priority}:{sources}")
        self._thread = threading.Thread(target=self._write, args=(file,), name="metrics", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(LETTING_GO)
        if self._fault is not None:
            raise self._fault

    def _write(self, file: Textfile) -> None:
        textfile.sweep(self._folder, self._clock())
        ended = False
        while not ended:
            ended = self._ended.is_set()  # what is told before is in this writing, which is then the last
            gpus = self._gpus()
            with self._lock:
                assert self._figures is not None
                text = exposition.text(self._figures.at(self._clock(), gpus))
            try:
                file.write(text)
                self._fault = None
            except OSError as fault:
                self._fault = fault
            if not ended:
                self._ended.wait(self._every)
        file.close()


def of(targets: Sequence[str], configured: Collection[str]) -> str:
    """The label `sources` of a run of these targets: few values, whatever a person may type."""
    if not targets:
        return "all"
    if not set(targets) <= set(configured):
        return "paths"
    names = sorted(set(targets))
    return ",".join(names) if len(names) <= MOST_SOURCES else f"{len(names)} sources"
