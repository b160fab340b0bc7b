"""What the sources give at most, by their limits, and what they gave when a run measured them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from penstock.flows.answers.doctor import Finding, SourcePace


class Limits(Protocol):
    """What a source's budget allows; None: as fast as it goes."""

    @property
    def requests_per_second(self) -> float | None: ...

    @property
    def per_day(self) -> int | None: ...


def paces(limits: Mapping[str, tuple[str, Limits]], measured: Mapping[str, float]) -> list[SourcePace]:
    """`limits`: name → type and budget. `measured`: name → tokens/s of the last run of that source alone.

    A document is taken to need one request, which is too many where a listing brings the text along.
    """
    found = []
    for name, (kind, budget) in limits.items():
        asked = kind != "files"
        rate, day = (budget.requests_per_second, budget.per_day) if asked else (None, None)
        hourly = [limit for limit in (rate and rate * 3600, day and day / 24) if limit]
        found.append(SourcePace(name, kind, rate, day, min(hourly, default=None), measured.get(name)))
    others = (name for name in measured if name not in limits)
    return found + [SourcePace(name, "", tokens_per_second=measured[name]) for name in others]


def findings(found: Sequence[SourcePace], device: float) -> Iterator[Finding]:
    """Which sources keep the device (tokens/s) waiting."""
    for source in found:
        rate = source.tokens_per_second
        if rate and rate < device:
            said = f"source {source.name} gave {rate / device:.0%} of what the device takes, when it was run alone"
            yield Finding("note", said)
