"""What DR stores hold, kept and let go, for people. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.flows.answers.render import count, plain, size, table
from penstock.flows.answers.times import FOR_EVER, when

if TYPE_CHECKING:
    from penstock.flows.recovery.snapshots import Answers, Created, HeldIn
    from penstock.index.recovery.audit import Audit
    from penstock.index.recovery.contents import Contents, Held, Shown
    from penstock.index.recovery.expire import Expired


def created(done: Answers[Created]) -> str:
    """Where the snapshot is now, what that cost, and where it is not."""
    lines = []
    for one in done.stores:
        copied = "nothing had to be copied"
        if one.copied_blobs:
            what = f"{count(one.copied_versions, 'version')}, {count(one.copied_blobs, 'blob')}"
            copied = f"copied {what}, {size(one.copied_bytes)}"
        kept = _kept(one.keep_until, one.held)
        lines.append(f"Snapshot {one.name} is version {one.version}, in {plain(one.store)}, kept {kept}; {copied}.")
    return "\n".join([*lines, *_problems(done.problems, "NOT in")])


def listed(done: Answers[Contents]) -> str:
    """Each DR store with its snapshots, and the range of points in time."""
    blocks = []
    for one in done.stores:
        span = one.versions
        lines = [f"{plain(one.store)}: {count(span.count, 'version')}" if span.count else f"{plain(one.store)}: empty"]
        if span.count:
            lines[0] += f", {span.oldest} to {span.newest}, of {when(span.since)} to {when(span.until)}"
        rows = [_row(held) for held in one.snapshots]
        rows += [[plain(name), "?", "?", "?", "?", "its record is damaged"] for name in one.broken]
        head = ["name", "version", "committed", "kept", "needs", "it alone"]
        lines += [f"  {line}" for line in table([head, *rows]).splitlines()] if rows else ["  no snapshot"]
        lines += [f"  version {version} is on its way" for version in one.coming]
        lines += [f"  {plain(fault)}" for fault in one.faults]
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, *_problems(done.problems)])


def shown(done: Answers[Shown]) -> str:
    """What is in one version, for each DR store that has it."""
    blocks = []
    for one in done.stores:
        names = ", ".join(f"{held.name} (kept {_kept(held.keep_until, held.held)})" for held in one.names) or "no name"
        identity = one.spaces.get(one.live, {})
        rows = [
            ["store", plain(one.store)],
            ["version", f"{one.version}, committed {when(one.committed_at)}"],
            ["names", names],
            ["counts", ", ".join(f"{number:,} {name}" for name, number in one.counts.items())],
            ["sources", ", ".join(f"{plain(name)} ({plain(at)})" for name, at in one.sources.items()) or "none"],
            ["model", ", ".join(f"{key} {plain(value)[:12]}" for key, value in identity.items()) or "none"],
            ["segments", f"{one.segments:,}"],
            ["needs", size(one.bytes)],
        ]
        rows += [[f"  {kind}", f"{count(part.blobs, 'blob')}, {size(part.bytes)}"] for kind, part in one.needs.items()]
        blocks.append(table(rows))
    return "\n\n".join([*blocks, *_problems(done.problems)])


def verified(done: Answers[Audit]) -> str:
    """A verdict for each DR store, each flaw, and what could be restored all the same."""
    blocks = []
    for one in done.stores:
        looked = f"{count(one.blobs, 'blob')}, {size(one.bytes)} of {count(len(one.versions), 'version')}"
        if not one.flaws:
            blocks.append(f"{plain(one.store)}: whole ({looked}).")
            continue
        lines = [f"{plain(one.store)}: {count(len(one.flaws), 'thing')} wrong ({looked})."]
        for flaw in one.flaws:
            spoils = [f"version {version}" for version in flaw.versions[:5]]
            spoils += [f"and {len(flaw.versions) - 5} more"] if len(flaw.versions) > 5 else []
            spoils += [f"snapshot {name}" for name in flaw.snapshots]
            lines.append(f"  {plain(flaw.key)}: {plain(flaw.what)} ({', '.join(spoils) or 'no version is lost'})")
            lines.append(f"      {flaw.remedy}")
        lines.append(
            f"  {'no version is whole' if one.whole is None else f'version {one.whole} is the newest whole one'}"
        )
        blocks.append("\n".join(lines))
    return "\n".join([*blocks, *_problems(done.problems)])


def held(done: Answers[HeldIn]) -> str:
    """Where a snapshot is held now, or is not any more."""
    lines = [
        f"Snapshot {one.name} (version {one.version}) is {'held' if one.held else 'not held any more'} in "
        f"{plain(one.store)}."
        for one in done.stores
    ]
    return "\n".join([*lines, *_problems(done.problems)])


def expired(done: Answers[Expired], dry_run: bool) -> str:
    """What went, or would go, from each DR store."""
    lines = []
    for one in done.stores:
        gone = [count(len(one.snapshots), "snapshot"), count(len(one.versions), "version"), count(one.blobs, "blob")]
        verb = "would delete" if dry_run else "deleted"
        kept = f"{count(one.kept_snapshots, 'snapshot')} and {count(one.kept_versions, 'version')} stay"
        if one.snapshots or one.versions or one.blobs:
            lines.append(f"{plain(one.store)}: {verb} {', '.join(gone)}, {size(one.bytes)}; {kept}.")
        else:
            lines.append(f"{plain(one.store)}: nothing to delete; {kept}.")
        lines += [f"  snapshot {name}" for name in one.snapshots]
        lines += [f"  versions {_ranges(one.versions)}"] if one.versions else []
        lines += [f"  no blob {'would go' if dry_run else 'went'}: {plain(one.waits)}"] if one.waits else []
    return "\n".join([*lines, *_problems(done.problems)])


def _row(held: Held) -> list[str]:
    needs = "?" if held.bytes is None else size(held.bytes)
    alone = "?" if held.unique is None else size(held.unique)
    fault = f"  {plain(held.fault)}" if held.fault else ""
    kept = _kept(held.keep_until, held.held)
    return [held.name, f"{held.version}", when(held.committed_at), kept, needs, alone + fault]


def _kept(keep_until: float, held: bool) -> str:
    if held:
        return "while it is held"
    if not keep_until:
        return "as keep_last says"
    return f"until {when(keep_until)}" if keep_until < FOR_EVER else "for ever"


def _problems(problems: Mapping[str, str], said: str = "") -> list[str]:
    return [f"{f'{said} ' if said else ''}{plain(name)}: {plain(why)}" for name, why in problems.items()]


def _ranges(numbers: list[int]) -> str:
    """1-3, 7, of ascending numbers."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)
