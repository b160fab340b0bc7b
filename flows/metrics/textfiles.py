"""What a look by a process of its own leaves: figures for node_exporter, and what the next look has to know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.flows import wiring
from penstock.flows.config.settings import Settings
from penstock.flows.metrics import remembered, textfile
from penstock.flows.metrics.look import Look
from penstock.flows.metrics.remembered import Remembered
from penstock.flows.metrics.textfile import Textfile
from penstock.index.blobs.deadline import call
from penstock.index.errors import IndexFault

SECONDS = 5.0
"""A folder that takes longer is left behind."""


def leave(settings: Settings, home: Path, look: Look, note: Callable[[str], None]) -> Remembered:
    """Write the figures of a look where the configuration says so; returns what is remembered, this look counted in.

    What cannot be written is noted.
    """
    from penstock.flows.metrics import exposition
    from penstock.flows.metrics.state import StateFigures

    known = remembered.read(home)
    state = StateFigures(look.home)
    state.go_on(known.counts, known.sum)
    text = exposition.text(state.after(look))
    counts, total = state.searches
    known = msgspec.structs.replace(known.seen(look.problems, look.at), counts=counts, sum=total)
    try:
        remembered.write(home, known)
        if settings.metrics.textfile is not None:
            folder = Path(settings.metrics.textfile)
            call(lambda: _write(folder, home, text), SECONDS)
    except (OSError, IndexFault) as fault:
        note(f"the figures of this look could not be written: {fault}")
    return known


def _write(folder: Path, home: Path, text: bytes) -> None:
    textfile.sweep(folder, wiring.clock())
    file = Textfile(folder, home, "watch")
    try:
        file.write(text)
    finally:
        file.close()
