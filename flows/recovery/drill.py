"""The drill: restore the newest shipped version into a scratch place, and see that it is what production is.

Nothing of production is changed and nothing is fenced: the restored index is a fork with one replica, half of what a
home takes, and it is gone afterwards. What is compared: the restored version is the newest that was shipped, a full
verify finds nothing, the content is that of production at that version, and each probe has the same hits, score for
score. Production is asked first, so that a collection meanwhile does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.flows import model_wiring, wiring
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UNAVAILABLE, UsageError
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.config.snapshots import SnapshotSettings, StorePlace
from penstock.flows.recovery import drill_log, probes, scratch
from penstock.flows.recovery.drill_log import Drilled, Result
from penstock.flows.recovery.drilling import Drilling, Production
from penstock.flows.recovery.probes import Probes
from penstock.index.errors import Conflict
from penstock.index.reading.reader import Reader

Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]
_EXITS: dict[Result, int] = {"passed": COMPLETE, "failed": INCOMPLETE, "undone": UNAVAILABLE}


class Wanted(msgspec.Struct, frozen=True):
    """What to drill. `stores`: none for those of `[snapshots] store`. `scratch`: None for the home itself."""

    stores: tuple[StorePlace, ...] = ()
    scratch: Path | None = None
    keep: bool = False


class Drill(msgspec.Struct, frozen=True):
    """The drills of one home, one for each DR store. `failed` before `undone` before `passed`."""

    home: str
    result: Result
    drills: tuple[Drilled, ...]

    @property
    def exit_code(self) -> int:
        return _EXITS[self.result]

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass, each with its DR store."""
        return [f"{one.store}: {reason}" for one in self.drills for reason in one.reasons]


def drill(
    settings: Settings,
    home: Home,
    wanted: Wanted,
    report: Report,
    progress: Progress,
    room: scratch.Free = scratch.free,
) -> Drill:
    """Hold a drill with each DR store in turn; what came of it is remembered in the home.

    Raises `UsageError` where there is no DR store or the scratch place cannot be used, `Conflict` while another drill
    of this home runs, and what reading production raises.
    """
    places = wanted.stores or tuple(settings.snapshots.places)
    if not places:
        raise UsageError("no DR store is configured: set [snapshots] store in penstock.toml, or give --from URL")
    where = scratch.place(home.path, wanted.scratch)
    drills: list[Drilled] = []
    with _alone(home):
        production = _production(settings, home, report)
        for place in places:
            session = Drilling(production, place, _apart(settings, where), report, progress)
            drills.append(session.hold(where, wanted.keep, room))
            drill_log.add(home.path, drills[-1], report)
    worst: Sequence[Result] = ("failed", "undone", "passed")
    result = next(each for each in worst if any(one.result == each for one in drills))
    return Drill(str(home.path), result, tuple(drills))


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """By a lock of the home's own: a drill must not depend on the catalog, and leaves it alone."""
    from penstock.index.catalog.locks import FileLocks

    held = FileLocks(home.path / drill_log.FOLDER / "locks").take("drill", wait=False)
    if held is None:
        raise Conflict("another drill of this home is running; wait for it to end")
    try:
        yield
    finally:
        held.release()


def _production(settings: Settings, home: Home, report: Report) -> Production:
    with wiring.open_reader(settings, home, report) as reader:
        asked = _probes(settings, home, reader, report)
        return Production(settings, home, reader.manifest, asked)


def _probes(settings: Settings, home: Home, reader: Reader, report: Report) -> Probes:
    said = settings.snapshots.probes

    def encode(texts: list[str]) -> NDArray[np.float32]:
        from penstock.flows.commands.cmd_search import as_made

        space = reader.manifest.spaces[reader.manifest.live]
        mine = as_made(space, msgspec.structs.replace(settings, home=str(home.path)))
        if any(space.identity.get(key) != value for key, value in model_wiring.model_identity(mine).items()):
            raise ValueError("the configured model is not the one that this index was made with")
        return model_wiring.encoder(mine).encode_queries(texts)

    return probes.of(home.path, reader, Path(said) if said else None, encode, report)


def _apart(settings: Settings, where: Path) -> Settings:
    """The settings of the restored home: nothing of it lies outside the scratch place, and it ships nowhere."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        home=str(where / "home"),
        index=replace(settings.index, replicas=1, write_quorum=1, catalog=None),
        spool=replace(settings.spool, store=None),
        snapshots=SnapshotSettings(),
    )
