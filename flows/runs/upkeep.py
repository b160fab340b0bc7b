"""Care for an index that is there: scrub, repair, compact, collect; for the command line and for deployments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.recovery import unfinished
from penstock.flows.recovery.donors import donors
from penstock.flows.runs import freshness
from penstock.index.types import Finding

if TYPE_CHECKING:
    from penstock.index.care.collect import Collected
    from penstock.index.care.compact import Compacted
    from penstock.index.care.repair import Repaired

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""
Report = Callable[[str], None]


def verify(settings: Settings, home: Home, progress: Progress, rate_mb: float | None = None) -> list[Finding]:
    """Everything that is wrong with the index, on any replica. Changes nothing."""
    from penstock.index.care.verify import verify as walk

    unfinished.refuse(home.path)
    return walk(
        wiring.stores(settings, home),
        wiring.layout(settings, home).catalog,
        report_progress=progress,
        rate_bytes=_rate(settings, rate_mb),
        clock=time.monotonic,
        sleep=wiring.sleep,
    )


def repair(
    settings: Settings,
    home: Home,
    report: Report,
    progress: Progress,
    rate_mb: float | None = None,
    lost: frozenset[str] = frozenset(),
    detail: Report = lambda _: None,
) -> Repaired:
    """Make the replicas whole again, from one another, else from the DR stores; mark what could not be saved, to be
    embedded again.

    `lost`: ids of replicas, and names of DR stores, whose content is known to be gone: what they alone may have had is
    not waited for.
    `detail` gets a line for each blob that is put.
    """
    from penstock.index.care.repair import repair as heal
    from penstock.index.commits.crew import Threads

    unfinished.refuse(home.path)
    found = wiring.layout(settings, home)
    done = heal(
        found.catalog,
        wiring.stores(settings, home),
        workdir=home.spool,
        token=wiring.token,
        report=report,
        report_progress=progress,
        detail=detail,
        rate_bytes=_rate(settings, rate_mb),
        lost=lost,
        donors=donors(settings, os.environ, report, lost),
        monotonic=time.monotonic,
        sleep=wiring.sleep,
        write_quorum=found.write_quorum,
        clock=wiring.clock,
        crew=Threads(time.monotonic, deadline=settings.index.replica_deadline),
    )
    if done.documents or done.lost or done.given_up:
        freshness.forget(home.path)
    return done


def compact(settings: Settings, home: Home, report: Report, progress: Progress, full: bool = False) -> Compacted:
    """Merge segments until nothing is left to merge."""
    from penstock.index.care.compact import Policy
    from penstock.index.care.compact import compact as merge

    with wiring.open_writer(settings, home, report) as writer:
        return merge(writer, Policy(), full=full, report_progress=progress)


def collect(settings: Settings, home: Home, report: Report, progress: Progress, dry_run: bool = False) -> Collected:
    """Let old versions expire as `[keep]` says, and delete what nobody needs any more."""
    from penstock.index.care.collect import Retention
    from penstock.index.care.collect import collect as sweep

    keep = Retention(settings.keep.versions, settings.keep.hours * 3600.0)
    with wiring.open_writer(settings, home, report) as writer:
        return sweep(writer, keep, now=wiring.clock(), dry_run=dry_run, report_progress=progress)


def _rate(settings: Settings, rate_mb: float | None) -> int | None:
    """Bytes a second."""
    chosen = rate_mb or settings.verify.rate_mb
    return None if chosen is None else max(1, int(chosen * 1e6))
