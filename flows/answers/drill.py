"""What came of a drill, for people: lines for the terminal, a page for Prefect, a row for `status`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.flows.answers.render import count, duration, plain, size, table

if TYPE_CHECKING:
    from penstock.flows.recovery.drill import Drill
    from penstock.flows.recovery.drill_log import Drilled

_VERDICTS = {
    "passed": "Passed: what was shipped brings the index back.",
    "failed": "Failed: what was shipped does not bring the index back as it is.",
    "undone": "Not held: nothing was learned.",
}


def lines(found: Drill) -> str:
    """A verdict, then each DR store with its figures, what is wrong, and notes."""
    said = [_VERDICTS[found.result]]
    for one in found.drills:
        said += ["", f"{plain(one.store)}: {one.result}", table(_figures(one))]
        said += [f"- {plain(reason)}" for reason in one.reasons]
        said += [f"note: {plain(note)}" for note in one.notes]
    return "\n".join(said)


def markdown(found: Drill) -> str:
    """The artifact of the flow."""
    said = [f"**{_VERDICTS[found.result]}**"]
    for one in found.drills:
        said += ["", f"### {_cell(one.store)}: {one.result}", ""]
        said += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in _figures(one))]
        if one.reasons:
            said += ["", "What is wrong:", "", *(f"    {plain(reason)}" for reason in one.reasons)]
        if one.notes:
            said += ["", "Notes:", "", *(f"    {plain(note)}" for note in one.notes)]
    return "\n".join(said)


def sentence(found: Drill) -> str:
    """One line for the state of a flow run."""
    if found.result == "passed":
        slowest = max(found.drills, key=lambda one: one.seconds_to_whole)
        answer = max(one.seconds_to_answer for one in found.drills)
        return f"passed: first answer after {duration(answer)}, whole after {duration(slowest.seconds_to_whole)}"
    reasons = found.reasons
    more = f" (and {len(reasons) - 1} more, see the artifact)" if len(reasons) > 1 else ""
    return f"{found.result}: {plain(reasons[0])}{more}"


def row(drills: Sequence[Drilled], stores: int, now: float) -> str:
    """What `status` says: the last drill of each DR store together; a hint where one was never drilled."""
    if len(drills) < stores:
        never = "never" if not drills else f"{stores - len(drills)} of {stores} DR stores never"
        return f"{never}; `penstock drill` shows whether what was shipped brings the index back"
    oldest = min(drills, key=lambda one: one.at)
    worst = next((one for result in ("failed", "undone") for one in drills if one.result == result), oldest)
    ago = f"{duration(max(now - worst.at, 0))} ago"
    if worst.result != "passed":
        return f"{_SHORT[worst.result]} {ago}, see the warnings"
    return f"passed {ago}, first answer after {duration(worst.seconds_to_answer)}, whole after " + duration(
        worst.seconds_to_whole
    )


def _figures(one: Drilled) -> list[list[str]]:
    rows: list[list[str]] = []
    if one.shipped:
        behind = "" if not one.lag_versions else f", {duration(one.lag_seconds)} behind version {one.head}"
        rows.append(["newest version there", f"{one.shipped}{behind}"])
    if one.restored:
        rows += [
            ["restored", f"version {one.restored}, {count(one.blobs, 'blob')}, {size(one.bytes)}, one replica"],
            ["first answer", duration(one.seconds_to_answer) if one.seconds_to_answer else "none"],
            ["whole", duration(one.seconds_to_whole)],
        ]
    if one.seconds_to_verify:
        rows.append(["verified", f"{count(one.findings, 'finding')}, {duration(one.seconds_to_verify)}"])
    if one.probes:
        rows.append(["same answers", f"{one.equal:,} of {count(one.probes, _NOUNS.get(one.asked, 'probe'))}"])
    if one.chunks:
        rows.append(["holds", f"{count(one.documents, 'document')} in {count(one.chunks, 'chunk')}"])
    rows.append(["all of it took", duration(one.seconds)])
    return [*rows, ["kept", one.kept]] if one.kept else rows


_SHORT = {"failed": "failed", "undone": "could not be held"}
_NOUNS = {"questions": "question", "passages": "passage"}


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|")
