"""Tokens over time, by stage, in so few numbers that a run of a week is as small as one of a minute."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

BINS = 180
STAGES = ("prepared", "embedded")


@dataclass(frozen=True, slots=True)
class Samples:
    """What is drawn. `rates`: stage → tokens/s in each span of `width` seconds from the beginning; `commits`: the spans
    in which one landed."""

    width: float
    seconds: float
    rates: dict[str, tuple[float, ...]]
    commits: tuple[int, ...]


class Series:
    """Counts tokens in at most `BINS` spans of equal width, which doubles as the run grows. Thread-safe."""

    def __init__(self, began: float, width: float = 1.0) -> None:
        """`began`: seconds since 1970, as all times here; `width`: that of a span at first, in seconds."""
        self._began, self._width, self._end = began, width, began
        self._tokens = {stage: [0.0] * BINS for stage in STAGES}
        self._commits = [False] * BINS
        self._lock = Lock()

    def add(self, stage: str, tokens: int, at: float, seconds: float = 0.0) -> None:
        """`tokens` were done in the `seconds` before `at`, evenly."""
        with self._lock:
            last = self._bin(at)
            first = min(self._bin(max(self._began, at - seconds)), last)
            for place in range(first, last + 1):
                self._tokens[stage][place] += tokens / (last + 1 - first)

    def committed(self, at: float) -> None:
        """A commit landed."""
        with self._lock:
            self._commits[self._bin(at)] = True

    def samples(self, now: float) -> Samples:
        """What is known until `now`. The span that is not over yet counts as long as it lasted."""
        with self._lock:
            last = self._bin(now)
            seconds = max(self._end - self._began, 0.0)
            if last and seconds - last * self._width < 0.25 * self._width and not self._any(last):
                last -= 1  # it has only just begun: no rate yet, not a rate of nothing
            rates = {
                stage: tuple(
                    tokens / max(min(self._width, seconds - place * self._width), 0.25 * self._width)
                    for place, tokens in enumerate(counted[: last + 1])
                )
                for stage, counted in self._tokens.items()
            }
            commits = tuple(place for place in range(last + 1) if self._commits[place])
            return Samples(self._width, seconds, rates, commits)

    def _any(self, place: int) -> bool:
        return self._commits[place] or any(counted[place] for counted in self._tokens.values())

    def _bin(self, at: float) -> int:
        self._end = max(self._end, at)
        while self._end - self._began >= BINS * self._width:
            self._halve()
        return int(max(0.0, at - self._began) / self._width)

    def _halve(self) -> None:
        rest = BINS - BINS // 2
        for stage, counted in self._tokens.items():
            pairs = [one + other for one, other in zip(counted[::2], counted[1::2], strict=True)]
            self._tokens[stage] = [*pairs, *([0.0] * rest)]
        marks = [one or other for one, other in zip(self._commits[::2], self._commits[1::2], strict=True)]
        self._commits = [*marks, *([False] * rest)]
        self._width *= 2
