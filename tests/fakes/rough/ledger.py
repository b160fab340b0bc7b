"""What the rough source saw: the truth about rate, concurrency and bodies delivered.

Times are `time.monotonic`, the same clock in every process of one machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

CUT_GRACE = 0.25
"""A client that hangs up has left before we notice: by so many seconds at most."""


@dataclass(slots=True)
class Seen:
    """One request. `fault`: what was done to it, "" if nothing. `document`: what its body is, "" for other answers.

    `ended`: when the client could know that it was over. `cut`: the client left, or we cut the connection.
    """

    at: float
    method: str
    target: str
    client: int
    fault: str = ""
    status: int = 0
    document: str = ""
    delivered: bool = False
    ended: float = 0.0
    cut: bool = False
    credentials: bool = False
    since: str = ""
    """The Range that was asked for."""
    told: float = 0.0
    """Seconds that Retry-After said."""


@dataclass(slots=True)
class Ledger:
    seen: list[Seen] = field(default_factory=list)

    def clear(self) -> None:
        self.seen = []

    def deliveries(self) -> Counter[str]:
        """How often each document's body was sent to its very end, as it is."""
        return Counter(seen.document for seen in list(self.seen) if seen.delivered)

    def faults(self) -> Counter[str]:
        return Counter(seen.fault for seen in list(self.seen) if seen.fault)

    def statuses(self) -> Counter[int]:
        return Counter(seen.status for seen in list(self.seen))

    def asked(self, prefix: str = "/") -> list[Seen]:
        return [seen for seen in list(self.seen) if seen.target.startswith(prefix)]

    def busiest(self, window: float = 1.0) -> int:
        """The largest number of requests whose heads came within any `window` seconds."""
        times = sorted(seen.at for seen in list(self.seen))
        first = most = 0
        for last, at in enumerate(times):
            while at - times[first] >= window:
                first += 1
            most = max(most, last - first + 1)
        return most

    def beyond(self, rate: float) -> float:
        """By how many requests the busiest stretch, of any length, was above `rate` a second.

        A token bucket of `rate` and `burst` never shows more than `burst`, but for jitter on the way.
        """
        level = most = 0.0
        before = None
        for at in sorted(seen.at for seen in list(self.seen)):
            level = max(0.0, level - (0.0 if before is None else (at - before) * rate)) + 1
            most, before = max(most, level), at
        return most

    def peak(self) -> int:
        """The largest number of requests under way at once."""
        steps: list[tuple[float, int]] = []
        for seen in list(self.seen):
            end = seen.ended or float("inf")
            if seen.cut:
                end = max(seen.at, end - CUT_GRACE)
            steps += [(seen.at, 1), (end, -1)]
        here = most = 0
        for _, step in sorted(steps, key=lambda pair: (pair[0], pair[1])):
            here += step
            most = max(most, here)
        return most

    def cooldowns(self) -> float:
        """Seconds during which somebody who obeys every Retry-After asks nothing at all."""
        total, until = 0.0, float("-inf")
        for start, told in sorted((seen.ended, seen.told) for seen in list(self.seen) if seen.told):
            total += max(0.0, start + told - max(start, until))
            until = max(until, start + told)
        return total

    def seconds(self) -> float:
        """From the first request to the last."""
        times = [seen.at for seen in list(self.seen)]
        return max(times) - min(times) if times else 0.0

    def summary(self) -> dict[str, object]:
        return {
            "requests": len(self.seen),
            "peak": self.peak(),
            "busiest": self.busiest(),
            "faults": self.faults(),
            "deliveries": self.deliveries(),
        }

    def records(self) -> list[dict[str, object]]:
        return [asdict(seen) for seen in list(self.seen)]
