"""Whether a DR store says that another index goes on in the stead of this one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from penstock.flows.config.settings import Settings
from penstock.flows.recovery import archives
from penstock.index.errors import Fenced, IndexFault

SECONDS = 5.0
"""So long, and no longer, a writer waits for a DR store to say it."""


def check(settings: Settings, lineage: str, environ: Mapping[str, str], seconds: float = SECONDS) -> None:
    """Raise `Fenced` where a DR store of the configuration fences `lineage`.

    One that is away, slow, empty or damaged keeps nobody from writing: `status` says that it is.
    """
    from penstock.index.blobs.deadline import gather

    work = {}
    for place in settings.snapshots.places:
        try:
            archive = archives.archive(place, environ, lambda _: None)
        except IndexFault:
            continue
        work[place.url] = partial(archive.check_not_fenced, lineage)
    found = gather(work, lambda _: False, grace=0.0, limit=seconds, clock=time.monotonic)
    for outcome in found.values():
        if isinstance(outcome, Fenced):
            raise outcome
