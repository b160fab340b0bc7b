"""An observer that tells the run's listeners what a person is told: its notes are in the logs as well."""

from __future__ import annotations

from penstock.flows.answers.progress import Observer
from penstock.flows.runs.events import Listener, Noted, nobody
from penstock.flows.sources.redactor import REDACTOR


class Overheard:
    """An `Observer` that hands everything on to another one, and each note to `tell` as well, without secrets."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.tell: Listener = nobody

    def stage(self, name: str) -> None:
        self._observer.stage(name)

    def planned(self, documents: int, bytes_: int) -> None:
        self._observer.planned(documents, bytes_)

    def advanced(self, documents: int, tokens: int) -> None:
        self._observer.advanced(documents, tokens)

    def reused(self, tokens: int) -> None:
        self._observer.reused(tokens)

    def committed(self, version: int) -> None:
        self._observer.committed(version)

    def note(self, message: str) -> None:
        self._observer.note(message)
        self.tell(Noted(REDACTOR.clean(message)))

    def finished(self) -> None:
        self._observer.finished()
