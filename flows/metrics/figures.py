"""Values by metric and labels, as they are now."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.flows.metrics.names import Metric

LONGEST = 200
"""Characters of a label's value."""
_CONTROLS = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}


@dataclass(slots=True)
class Histogram:
    """How many values lay at or below each bound, and their sum. `counts` has one more: those above all bounds."""

    counts: list[int]
    sum: float = 0.0


@dataclass(slots=True)
class Figures:
    """Not thread-safe. `common`: the labels that every one of these metrics has."""

    common: Mapping[str, str]
    values: dict[Metric, dict[tuple[str, ...], float]] = field(default_factory=dict)
    histograms: dict[Metric, dict[tuple[str, ...], Histogram]] = field(default_factory=dict)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Raises `ValueError` where these are not the labels of the metric."""
        self.values.setdefault(metric, {})[self._key(metric, labels)] = value

    def add(self, metric: Metric, value: float, **labels: str) -> None:
        """So much more. Raises as `set`."""
        held, key = self.values.setdefault(metric, {}), self._key(metric, labels)
        held[key] = held.get(key, 0.0) + value

    def raise_to(self, metric: Metric, value: float, **labels: str) -> None:
        """At least that much: a counter never goes back. Raises as `set`."""
        held, key = self.values.setdefault(metric, {}), self._key(metric, labels)
        held[key] = max(held.get(key, 0.0), value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """One more value of a histogram. Raises as `set`."""
        held, key = self.histograms.setdefault(metric, {}), self._key(metric, labels)
        one = held.setdefault(key, Histogram([0] * (len(metric.buckets) + 1)))
        one.counts[bisect_left(metric.buckets, value)] += 1
        one.sum += value

    def clear(self, *metrics: Metric) -> None:
        """Forget all values of these."""
        for metric in metrics:
            self.values.pop(metric, None)
            self.histograms.pop(metric, None)

    def metrics(self) -> Iterator[Metric]:
        """Those that have a value."""
        yield from self.values
        yield from self.histograms

    def _key(self, metric: Metric, labels: Mapping[str, str]) -> tuple[str, ...]:
        said = {**self.common, **labels}
        if said.keys() != set(metric.labels):
            raise ValueError(f"{metric.name} has the labels {', '.join(metric.labels)}, not {', '.join(said)}")
        return tuple(plain(said[label]) for label in metric.labels)


def plain(value: str) -> str:
    """A label's value: text that can be written down, no control characters but line ends, not too long."""
    text = value.encode("utf-8", "backslashreplace").decode().translate(_CONTROLS)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 13]}…{hashlib.sha256(text.encode()).hexdigest()[:12]}"  # two stay two
