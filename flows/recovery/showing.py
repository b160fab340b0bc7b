"""The reader that a restore has open: from when it can be searched until it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.recovery import unfinished
from penstock.index.errors import Corrupt

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store


class Showing:
    """The reader of what is being restored: opened as soon as it can be, shown once, and kept up with the restore."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        lineage: str,
        report: Callable[[str], None],
        searchable: Callable[[Reader], None],
        began: float,
    ) -> None:
        self._settings, self._home, self._lineage, self._report = settings, home, lineage, report
        self._searchable, self._began = searchable, began
        self._reader: Reader | None = None
        self.searched = 0.0

    def show(self, stores: Sequence[Store]) -> None:
        """Go on to what these stores show now. What a search needs may be damaged there: then it is not shown yet."""
        if self._reader is not None:
            self._reader.refresh()
            return
        try:
            self._reader = unfinished.opened(stores, self._lineage, self._settings, self._home, self._report)
        except Corrupt as damage:
            self._report(f"it cannot be searched yet: {damage}")
            return
        self.searched = time.monotonic() - self._began
        self._searchable(self._reader)

    def __enter__(self) -> Showing:
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()
