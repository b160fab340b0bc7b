"""The account of a run for people: a verdict, the table, the reasons, what to do next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.flows.answers.render import count, duration, money, plain, size, spared, table

if TYPE_CHECKING:
    from penstock.flows.runs.accounting import Accounting, Shipment


def accounting(account: Accounting, dry_run: bool = False, again: str = "the same command") -> str:
    """The account of a run: a verdict, the table, the reasons, what to do next. `again`: how to run it again."""
    lines = [_verdict(account, dry_run), ""]
    lines.append(table(_plan_rows(account) if dry_run else _rows(account)))
    if not dry_run and (account.chunks or account.tokens):
        lines += ["", _work(account)]
    if account.pages and account.page_seconds:
        rate = account.pages / account.page_seconds
        lines.append(f"{count(account.pages, 'page')} read, {rate:,.0f} pages/s and core")
    if account.reused_tokens:
        chunks = f" in {count(account.reused_chunks, 'chunk')}" if account.reused_chunks else ""
        lines.append(f"{spared(account.reused_tokens, account.embedded_tokens)}: their vectors were there{chunks}")
    if account.billed_tokens:
        paid = "" if account.cost is None else f": {money(account.cost)}"
        lines.append(f"{count(account.billed_tokens, 'token')} to be paid for{paid}")
    if account.retries and not dry_run:
        lines.append(f"requests repeated: {_repeated(account)}")
    if account.resumed:
        lines.append(f"{count(account.resumed, 'document')} taken over from an interrupted run")
    lines += shipped(account.ship)
    if account.messages:
        lines += ["", *(f"Note: {plain(message)}" for message in account.messages)]
    if step := _next_step(account, dry_run, again):
        lines += ["", step]
    return "\n".join(lines)


def shipped(figures: Mapping[str, Shipment]) -> list[str]:
    """A line for each DR store that has everything."""
    lines = []
    for name, one in figures.items():
        late = f", at most {duration(one.lag_max)} behind" if one.shipped_versions else ""
        if one.versions_behind == 0 and not one.problem:
            lines.append(f"shipped to {plain(name)}: up to version {one.version}{late}")
    return lines


def _rows(account: Accounting) -> list[list[str]]:
    states = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")
    rows = [["listed", f"{account.listed:,}", ""]]
    rows += [[f"  {name}", f"{getattr(account, name):,}", _reasons(account, name)] for name in states]
    return rows + _lost(account)


def _lost(account: Accounting) -> list[list[str]]:
    return [
        [name, f"{getattr(account, name):,}", _reasons(account, name)]
        for name in ("deleted", "withheld")
        if getattr(account, name)
    ]


def _plan_rows(account: Accounting) -> list[list[str]]:
    """A dry run counts what would be indexed as deferred: nothing of it was done."""
    rows = [
        ["listed", f"{account.listed:,}", ""],
        ["  unchanged", f"{account.unchanged:,}", ""],
        ["  to index", f"{account.would_do:,}", ""],
    ]
    kinds = (("new", account.would_new), ("changed", account.would_change), ("tried again", account.would_retry))
    rows += [[f"    {name}", f"{number:,}", ""] for name, number in kinds if number]
    if beyond := account.deferred - account.would_do:
        rows.append(["  deferred", f"{beyond:,}", "beyond the limit"])
    for name, said in (("failed", "failed before"), ("rejected", "rejected before"), ("filtered", "filtered")):
        if number := getattr(account, name):
            rows.append([f"  {said}", f"{number:,}", _reasons(account, name)])
    rows.append(["to delete", f"{account.would_delete:,}", ""])
    if account.withheld:
        rows.append(["withheld", f"{account.withheld:,}", ""])
    unsaid = account.would_do and not account.would_fetch_bytes
    fetch = "unknown" if unsaid else size(account.would_fetch_bytes)
    return [*rows, ["to fetch", fetch, "the source tells no sizes" if unsaid else ""], *_cost_rows(account)]


def _cost_rows(account: Accounting) -> list[list[str]]:
    """Estimated, so said with two digits."""
    if not account.would_do:
        return []
    rows = [["to embed", f"about {_about(account.would_embed_tokens):,} tokens", ""]]
    if account.would_reuse_tokens:
        rows.append(["to reuse", f"about {_about(account.would_reuse_tokens):,} tokens", "their vectors are there"])
    if account.would_cost is not None:
        rows.append(["to pay", f"about {money(account.would_cost)}", "by the configured price"])
    minutes = account.would_take_minutes
    if minutes is None:
        return [*rows, ["time", "unknown", "until a run has embedded enough on this device"]]
    said = f"about {duration(minutes * 60)}" if minutes >= 1 else "less than a minute"
    return [*rows, ["time", said, "on this device"]]


def _about(number: int) -> int:
    """Rounded to two digits: an estimate does not know more."""
    return int(float(f"{number:.1e}"))


def _verdict(account: Accounting, dry_run: bool) -> str:
    if dry_run:
        if not account.would_do and not account.would_delete:
            return "A run would find nothing to do. Nothing was changed."
        what = [f"process {count(account.would_do, 'document')}"] if account.would_do else []
        if account.would_fetch_bytes:
            what.append(f"fetch {size(account.would_fetch_bytes)}")
        if account.would_delete:
            what.append(f"delete {count(account.would_delete, 'document')}")
        return f"A run would {', '.join(what)}. Nothing was changed."
    if account.exit_code():
        return f"Incomplete: {_left(account)}. Version {account.version} is safe."
    if account.indexed or account.deleted:
        return f"Complete: version {account.version} is committed."
    return f"Complete: nothing to change since version {account.version}."


def _left(account: Accounting) -> str:
    left = [f"{number:,} {name}" for name in ("failed", "deferred") if (number := getattr(account, name))]
    if account.withheld:
        left.append(count(account.withheld, "deletion") + " withheld")
    if account.gaps:
        left.append(count(account.gaps, "place") + " could not be listed")
    if account.unlisted:
        left.append(count(account.unlisted, "source") + " could not be listed at all")
    if account.held_asked:
        left.append(count(account.held_asked, "source") + " held")
    if account.held_lost:
        left.append(count(account.held_lost, "document") + " lost in what is held")
    return ", ".join(left)


def _reasons(account: Accounting, status: str) -> str:
    reasons = sorted(account.reasons.get(status, {}).items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{plain(reason)} {number:,}" for reason, number in reasons)


def _repeated(account: Accounting) -> str:
    return "; ".join(
        f"{plain(name)} " + ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
        for name, reasons in sorted(account.retries.items())
    )


def _work(account: Accounting) -> str:
    before = min(account.taken_over_tokens, account.tokens)
    tokens = count(account.tokens, "token") + (f" ({before:,} of them taken over)" if before else "")
    work = f"{count(account.chunks, 'chunk')}, {tokens}, {duration(account.seconds)}"
    if not account.tokens_per_second:
        return work
    embedded = (
        "" if account.embedded_tokens == account.tokens else f"{count(account.embedded_tokens, 'token')} embedded at "
    )
    return f"{work}, {embedded}{account.tokens_per_second:,.0f} tokens/s"


def _next_step(account: Accounting, dry_run: bool, again: str) -> str:
    if dry_run:
        return f"Next: {again}" if account.would_do or account.would_delete else ""
    if account.withheld:
        confirm = f"{again} --confirm-deletions {account.withheld}"
        return f"Next: look at what is gone from the source; if it really is: {confirm}"
    if account.failed:
        return f"Next: `penstock failures` says why; {again} tries again what is due, `penstock retry` everything"
    if account.gaps:
        return f"Next: make readable what the notes name, then: {again}"
    if account.deferred or account.unlisted:
        return f"Next: {again}   (goes on with what was deferred)"
    if account.held_asked or account.held_lost:
        return f"Next: the command that the note names, then: {again}"
    return ""
