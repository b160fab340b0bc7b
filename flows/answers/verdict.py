"""One sentence about a home, the next command to type, and whether all is well: the worst first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.answers import readonly, steps
from penstock.flows.answers.health import Health
from penstock.flows.answers.recovery import Recovery
from penstock.flows.answers.render import count, size
from penstock.flows.config import place
from penstock.flows.recovery import remedies
from penstock.flows.spools.looking import Spooled
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.flows.answers.report import ReplicaStatus, SourceStatus

Verdict = tuple[str, str, bool]


def _why(replica: ReplicaStatus) -> str:
    if not replica.reachable:
        return "cannot be reached"
    if replica.readonly:
        return "takes nothing"
    return "is on a full disk: make room" if replica.full else "is damaged"


def _donors(recovery: Recovery) -> str:
    return "a DR store may have what is lost: " if recovery.stores else ""


def unreadable(manifest: Manifest | None, replicas: list[ReplicaStatus]) -> bool:
    """Whether there is an index of which nothing can be read."""
    if not any(r.reachable for r in replicas):
        return bool(replicas)
    return manifest is None and any(r.version for r in replicas)


def stopped(
    manifest: Manifest | None,
    replicas: list[ReplicaStatus],
    write_quorum: int,
    found: Health,
    again: str,
    recovery: Recovery,
) -> Verdict | None:
    """The verdict where writing cannot go on, or a copy is not what it was; None where neither is so.

    `again`: the command that opens the index for writing.
    """
    if unreadable(manifest, replicas):
        if any(r.reachable for r in replicas):
            return "Unreadable: no replica has a good copy.", f"{_donors(recovery)}penstock repair", False
        return "Unreadable: no replica can be reached.", "bring a replica back, then penstock status", False
    if found.readonly:
        return f"Read-only: {found.readonly}; nothing can be written, reading goes on.", readonly.STEP, False
    if fenced := [store for store in recovery.stores if store.fenced]:
        return f"Writing is refused: {fenced[0].fenced}.", fenced[0].step, False
    if recovery.fenced:
        return f"Writing is refused: {recovery.fenced}.", remedies.RESTORED, False
    if found.misconfigured:
        return f"Writing is refused: {found.misconfigured}.", found.fix, False
    if found.obstacles:
        fix = found.fix or (f"{_donors(recovery)}penstock repair" if recovery.stores else "penstock verify")
        return f"Writing is stopped: {found.obstacles[0]}.", fix, False
    fit = [r for r in replicas if r.reachable and r.writable]
    gone = [r for r in replicas if not place.is_url(r.path) and not Path(r.path).exists()]
    if gone and fit and len(fit) + len(gone) == len(replicas):
        said = f"Under-replicated: replica {', '.join(r.id for r in gone)} is gone."
        return f"{said} The next ingest makes it again from the others.", again, False
    if len(fit) < write_quorum and replicas:
        out = [f"replica {r.id} {_why(r)}" for r in replicas if r not in fit]
        damaged = any(r.reachable and not r.writable and not r.full and not r.readonly for r in replicas)
        full = any(r.full for r in replicas)
        step = "penstock repair" if damaged else again if full else "penstock replica list"
        return f"Writing is stopped: {', '.join(out)} (reading goes on).", step, False
    newest = max((r.version for r in replicas), default=0)
    if manifest is not None and manifest.version < newest and all(r.problem for r in replicas if r.version == newest):
        said = f"Damaged: version {newest} is good on no replica; version {manifest.version} is served"
        return f"{said}, and writing is stopped.", "penstock repair", False
    if found.recovers:
        return f"Recoverable: {found.recovers}; the next ingest makes it again (reading goes on).", again, False
    if shut := [r for r in replicas if r.readonly]:
        said = f"Under-replicated: replica {', '.join(r.id for r in shut)} can be read and takes nothing"
        return f"{said}; writing goes on.", readonly.STEP, False
    if hurt := [r for r in replicas if r.reachable and r.problem]:
        names = ", ".join(r.id for r in hurt)
        return f"Damaged: replica {names}, see the warnings; good copies are used instead.", "penstock repair", False
    return None


def going(
    version: int,
    counts: Mapping[str, int],
    replicas: list[ReplicaStatus],
    spooled: Spooled,
    bound: list[SourceStatus],
    configured: Collection[str],
    found: Health,
    recovery: Recovery,
    lost: int = 0,
) -> Verdict:
    """The verdict on an index that can be written. `lost`: documents of held sources that were good on no replica."""
    known = [s.name for s in bound]
    if version == 0 and not found.decided and all(not r.version for r in replicas):
        return "Empty: nothing has been ingested yet.", steps.ingest(known, configured), True
    if away := [r for r in replicas if not r.reachable]:
        lacks = sum(r.lacks_bytes for r in away)
        said = f"Under-replicated: replica {', '.join(r.id for r in away)} cannot be reached"
        said += f", and lacks {size(lacks)}" if lacks else ""
        return f"{said}; writing goes on.", "penstock repair", False
    if behind := [r for r in replicas if r.version < version]:
        said = f"Under-replicated: replica {', '.join(r.id for r in behind)} lacks version {version}"
        return f"{said} ({size(sum(r.lacks_bytes for r in behind))}).", "penstock repair", False
    if found.decided > version and not spooled.held:  # else the run that decided it may be about to publish it
        said = f"Interrupted: version {found.decided} is decided; the next run publishes it."
        return said, steps.reopened(known, configured), False
    if unsafe := [store for store in recovery.stores if store.warning]:
        return f"Not shipped: {unsafe[0].warning}.", unsafe[0].step, False
    if recovery.unproven:
        return f"Unproven: {recovery.unproven[0]}.", "penstock drill", False
    held = [s.name for s in bound if s.held]
    resume = "mend what was wrong, then: penstock sources resume " + " ".join(held)
    if lost:
        what = f"{count(lost, 'document')} of held sources were good on no replica"
        return f"Lost: {what}; no run embeds them again before their source goes on.", resume, False
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        said = f"Held: source {held[0]}{more}, {next(s.held for s in bound if s.held)}; no run changes it."
        return said, resume, False
    if spooled.left:
        said = f"Interrupted: a run of {', '.join(sorted(spooled.left))} left prepared work behind"
        return f"{said}; it is taken over, not done again.", steps.resumed(spooled.left, known, configured), False
    if counts.get("failed", 0):
        said = f"Incomplete: failed documents ({counts['failed']}) are tried again by the next run."
        return said, "penstock failures", False
    if moved := [s.name for s in bound if not s.there and s.type == "files" and s.name != "adhoc"]:
        return f"Source {moved[0]} is not where it was.", f"penstock sources rebind {moved[0]} NEW_PATH", False
    working = "; a run is at work" if spooled.held else ""
    said = f"Healthy: version {version} is on all {len(replicas)} replicas{working}."
    return said, "penstock search QUESTION", True
