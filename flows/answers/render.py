"""Figures and answers for people. Pure: values in, text out; what came from a document is made harmless."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.flows.answers import freshness
from penstock.flows.answers.times import duration as duration

if TYPE_CHECKING:
    from penstock.flows.answers.report import SourceStatus, Status
    from penstock.index.care.collect import Collected
    from penstock.index.care.compact import Compacted
    from penstock.index.care.export import Exported
    from penstock.index.care.repair import Repaired
    from penstock.index.stores.analyze import Analysis
    from penstock.index.types import DocState, Finding, Hit

WIDTH = 100
MOST = 20
"""Lines of a list that a person gets; --json has all."""
ALIKE = 5
"""Findings of one kind in one place that a person gets one by one."""


def plain(text: str) -> str:
    """One line without control characters: a document's text must not be able to drive the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def size(bytes_: float) -> str:
    """Bytes as people say them: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.0f} {unit}" if unit == "B" else f"{bytes_:.1f} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f} TB"


def count(number: int, noun: str) -> str:
    """1 document, 2 documents."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def money(amount: float) -> str:
    """In the currency of the price, which we do not know: 12.30, and enough digits of what is less than one."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.2g}"


def spared(reused: int, embedded: int) -> str:
    """What needed no model, of all tokens that needed a vector: 12,000 tokens not embedded again (35%)."""
    return f"{count(reused, 'token')} not embedded again ({reused / (reused + embedded):.0%})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two blanks apart."""
    if not rows:
        return ""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def hits(found: Sequence[Hit], width: int = WIDTH, narrowed: bool = False) -> str:
    """Ranked answers: rank, score, where, heading path, and the passage wrapped to `width` columns."""
    if not found:
        return "Nothing passes these filters." if narrowed else "Nothing found: the index is empty."
    return "\n\n".join(_hit(rank, hit, width) for rank, hit in enumerate(found, start=1))


def _hit(rank: int, hit: Hit, width: int, most: int = 480) -> str:
    page = f" (page {hit.page})" if hit.page is not None else ""
    lines = [f"{rank}. {hit.score:.4f}  {plain(hit.uri)}{page}"]
    if path := " › ".join(plain(part) for part in hit.heading):
        lines.append(f"   {path}")
    passage = " ".join(plain(hit.text).split())
    passage = passage if len(passage) <= most else passage[:most] + " …"
    lines += textwrap.wrap(passage, width, initial_indent="   ", subsequent_indent="   ")
    return "\n".join(lines)


def failures(states: Sequence[DocState], now: float, held: Container[str] = ()) -> str:
    """Failed and rejected documents with reason, attempts and when they are tried again; not while their source is
    `held`."""
    if not states:
        return "No document is failed or rejected."
    rows = [["status", "reason", "attempts", "next try", "document", "detail"]]
    for state in states:
        again = "when it changes"
        if state.status == "failed":
            again = "next run" if state.next_try <= now else f"in {duration(state.next_try - now)}"
        if state.source in held:
            again = "source is held"
        said = [plain(state.reason), str(state.attempts), again, plain(state.uri), plain(state.detail)]
        rows.append([state.status, *said])
    return table(rows)


def findings(found: Sequence[Finding], every: bool = False) -> str:
    """What `verify` found, with where, what and the remedy; many of one kind in one line, unless `every` is wanted."""
    if not found:
        return "All is well: every byte on every replica is what its name says."
    lines = [f"{count(len(found), 'thing')} wrong:"]
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in found:
        alike.setdefault((finding.where, finding.kind, finding.remedy), []).append(finding)
    for (where, kind, remedy), same in alike.items():
        many = len(same) > ALIKE and not every
        for finding in same[:1] if many else same:
            more = f", and {len(same) - 1:,} more {kind} findings (-v lists them)" if many else ""
            lines += [f"- {plain(where)}: {plain(finding.what)}{more}", f"  {plain(remedy)}"]
    return "\n".join(lines)


def repaired(done: Repaired, where: str = "", held: Collection[str] = ()) -> str:
    """What was made whole, what could not be, and what to type next. `where`: the options that name this home; `held`:
    sources that no run would embed again."""
    lines = []
    for name, healed in sorted(done.replicas.items()):
        if healed:
            what = f"{count(healed.blobs, 'blob')} ({size(healed.bytes)}), {count(healed.records, 'log record')}"
            lines.append(f"replica {plain(name)}: put back {what}, {count(healed.markers, 'marker')}")
            if healed.donated:
                lines.append(f"  {count(healed.donated, 'blob')} of these no replica had whole: from a DR store")
    lines += [f"replica {plain(name)} was left as it is: {plain(why)}" for name, why in sorted(done.refused.items())]
    lines += [f"replica {plain(name)} was not reached: {plain(why)}" for name, why in sorted(done.away.items())]
    lines += [f"DR store {plain(name)} did not answer: {plain(why)}" for name, why in sorted(done.silent.items())]
    if done.silent:
        lines.append(f"  {count(len(done.unsaved), 'blob')} good on no replica may lie there, so nothing is given up;")
        lines.append("  `penstock repair --lost NAME` says that a DR store is gone for good")
    lines += [f"lost: {plain(what)}" for what in done.lost]
    if done.given_up:
        lines.append(f"versions up to {done.given_up} could not be made whole and are not kept any more")
    if done.documents:
        lines.append(f"{count(len(done.documents), 'document')} must be embedded again:")
        lines += [f"  {plain(uri)}" for uri in done.documents[:MOST]]
        lines += [f"  and {len(done.documents) - MOST:,} more"] if len(done.documents) > MOST else []
    return "\n".join([_healed(done), *(["", *lines] if lines else []), "", f"Next: {_after_repair(done, held, where)}"])


def _healed(done: Repaired) -> str:
    if not done.whole:
        return "Not whole yet: not every replica could be repaired."
    if done.documents or done.lost:
        return f"Whole again, without what was good nowhere; version {done.version} says so."
    return "Whole again." if done else "Nothing was wrong with the replicas."


def _after_repair(done: Repaired, held: Collection[str], where: str) -> str:
    if done.silent and not (done.refused or done.away):
        return f"bring the DR store back, then penstock repair{where}"
    if not done.whole:
        return f"penstock replica list{where}"
    if done.documents and held:
        names = " ".join(sorted(held))
        return f"mend what was held, then: penstock sources resume {names}{where}; then: penstock ingest{where}"
    return f"penstock ingest{where}" if done.documents else f"penstock verify{where}"


def compacted(done: Compacted, where: str = "") -> str:
    """What became of the segments."""
    if not done.merges:
        return f"Nothing to merge: {count(done.segments_after, 'segment')}."
    return (
        f"{count(done.segments_before, 'segment')} became {done.segments_after:,} in version {done.version}; "
        f"{count(done.purged, 'dead row')} went.\n\nNext: penstock collect{where}   (frees the space)"
    )


def collected(done: Collected, dry_run: bool) -> str:
    """What went from each replica."""
    verb = "would go" if dry_run else "went"
    lines = [f"Versions up to {done.floor:,} {'would be' if dry_run else 'are'} expired." if done.floor
             else "No version has expired."]  # fmt: skip
    for name, swept in sorted(done.replicas.items()):
        what = f"{count(swept.blobs, 'blob')} ({size(swept.bytes)}), {count(swept.records, 'log record')}"
        lines.append(f"replica {plain(name)}: {what} {verb}")
    lines += [f"replica {plain(name)} was left out: {plain(why)}" for name, why in sorted(done.left_out.items())]
    return "\n".join(lines)


def exported(done: Exported, directory: str) -> str:
    """What was written, and how to open it."""
    return (
        f"{count(done.vectors, 'vector')} of version {done.version} are in {plain(directory)}.\n\n"
        f'faiss.read_index("{plain(directory)}/vectors.faiss")\n'
        f'pandas.read_parquet("{plain(directory)}/rows.parquet")   # row i describes vector i'
    )


def status(found: Status, now: float) -> str:
    """The verdict and the next command first, then the figures, then what to think about."""
    lines = [found.verdict, f"Next: {found.next}", ""]
    ago = f", committed {duration(max(now - found.committed_at, 0))} ago" if found.committed_at else ""
    rows = [["home", plain(found.home)]]
    if found.documents is None or found.chunks is None:
        rows.append(["version", "unknown" if found.version is None else f"{found.version} (says the catalog)"])
        rows.append(["documents", "unknown"])
    else:
        rows.append(["version", f"{found.version}{ago}"])
        rows.append(["documents", f"{found.documents:,} in {count(found.chunks, 'chunk')}"])
        rows.append(["not indexed", f"{found.failed:,} failed, {found.rejected:,} rejected"])
    if found.spool_shards:
        rows.append(["spool", f"{count(found.spool_shards, 'shard')}, {size(found.spool_bytes)}"])
    if found.catalog:
        kept = f", {count(found.kept_versions, 'version')} kept" if found.kept_versions else ""
        rows.append(["catalog", plain(found.catalog) + kept])
    for one in found.replicas:
        state = f"version {one.version}, {size(one.bytes)}" if one.reachable else "cannot be reached"
        state += f", lacks {size(one.lacks_bytes)}" if one.lacks_bytes else ""
        rows.append([f"replica {plain(one.id)}", f"{state}  {plain(one.path)}"])
    rows += _recovery(found)
    rows += [["drill", plain(drilled)]] if found.chunks and (drilled := found.recovery.drilled(now)) else []
    rows += [[f"source {name}", where] for name, where in _bindings(found.sources)]
    rows += [[f"fresh {plain(name)}", freshness.line(one, now)] for name, one in found.freshness.items()]
    lines.append(table(rows))
    lines += [f"warning: {plain(warning)}" for warning in found.warnings]
    return "\n".join(lines)


def _recovery(found: Status) -> list[list[str]]:
    """Where everything lies once more, and where it does not: what would have to be made again."""
    rows = []
    for store in found.recovery.stores:
        state = f"version {store.version}" + (f", {store.left}" if store.left else "")
        had = f", had version {store.version}" if store.version else ""
        if store.problem and store.versions_behind is None:
            state = f"cannot be {'shipped to' if store.reachable else 'reached'}{had}"
        rows.append(["DR store", f"{state}  {plain(store.place)}"])
    if rows or not found.chunks or found.documents is None:
        return rows
    lost = f"{count(found.documents, 'document')} must be fetched and {count(found.chunks, 'chunk')} embedded again"
    return [["DR store", f"none: if all replicas are lost, {lost}; [snapshots] store says where copies go"]]


def analysis(found: Analysis) -> str:
    """A verdict, each promise with what came of it, and how long requests take."""
    broken = [probe.name for probe in found.probes if not probe.passed]
    verdict = f"Not fit for a replica: {', '.join(broken)}." if broken else "Fit for a replica."
    lines = [f"{plain(found.store)}: {verdict}", ""]
    lines.append(table([["kept" if p.passed else "BROKEN", p.name, plain(p.said)] for p in found.probes]))
    if found.latencies:
        rows = [["request", "p50", "p99"]]
        rows += [[one.request, f"{one.p50_ms:.1f} ms", f"{one.p99_ms:.1f} ms"] for one in found.latencies]
        lines += ["", table(rows)]
    return "\n".join(lines)


def replicas(rows: Sequence[Mapping[str, object]], write_quorum: int) -> str:
    """Each replica with its place and what is wrong with it, then the quorum."""
    shown = []
    for row in rows:
        state = f"version {row['version']}" if row["reachable"] else "cannot be reached"
        if not row["member"]:
            state = f"not in the index yet: penstock replica add {row['id']}"
        elif not row["configured"]:
            state = f"not configured any more: penstock replica remove {row['id']}"
        shown.append([f"replica {plain(str(row['id']))}", state, plain(str(row["place"])), plain(str(row["problem"]))])
    return f"{table(shown)}\n\n{write_quorum} of {len(rows)} must have a commit."


def sources(found: Sequence[SourceStatus]) -> str:
    """Sources by name, with where they are."""
    if not found:
        return "No source yet: `penstock ingest FOLDER` makes one."
    return table([[name, where] for name, where in _bindings(found)])


def _bindings(found: Sequence[SourceStatus]) -> list[tuple[str, str]]:
    return [(plain(s.name), plain(s.binding) + _remark(s)) for s in found]


def _remark(source: SourceStatus) -> str:
    if source.orphaned:
        return " (orphaned)"
    return " (held)" if source.held else "" if source.there else " (not there)"
