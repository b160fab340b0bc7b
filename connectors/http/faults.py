"""What may go wrong with one request and pass: the one exception that is retried."""

from __future__ import annotations

from penstock.connectors.types import RetryLater, SourceError, StopSource

FAILURE_OF = {
    "throttled": "throttled",
    "server_error": "server_error",
    "connect": "unreachable",
    "reset": "unreachable",
    "timeout": "timed_out",
    "stalled": "timed_out",
    "truncated": "truncated",
    "garbled": "garbled",
}
"""How an item failed (a word of `reasons.FAILURES`) whose last request went wrong this way (`reasons.RETRIES`)."""

RETRY_OF = {"unreachable": "reset", "timed_out": "timeout"}

FAILED = ("server_error", "connect", "reset", "timeout", "stalled", "truncated")
"""Faults that say that the source is unwell; what is garbled says only that about this answer."""


class Fault(Exception):
    """One request went wrong and may be repeated. `reason` is a word of `reasons.RETRIES`.

    `cooldown`: seconds that the source asked everybody to wait; the budget waits for them. `verdict`: how the budget
    is to count it.
    """

    def __init__(self, reason: str, message: str, *, cooldown: float = 0.0, verdict: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.cooldown = cooldown
        self.verdict = verdict or verdict_of(reason)

    def final(self, retries: int) -> SourceError:
        """What it becomes when nobody tries again."""
        if self.reason == "token":
            return StopSource(f"{self}; check the credentials of this source")
        again = f" (asked {retries + 1} times)" if retries else ""
        return RetryLater(f"{self}{again}", self.cooldown, reason=FAILURE_OF[self.reason], retries=retries)


class Disliked(Fault):
    """An answer that the connector found wanting, with the error it gave for that."""

    def __init__(self, error: RetryLater) -> None:
        known = RETRY_OF.get(error.reason, error.reason)
        reason = known if known in FAILURE_OF else "garbled"
        super().__init__(reason, str(error), cooldown=error.after)
        self.error = error

    def final(self, retries: int) -> SourceError:
        return RetryLater(str(self.error), self.error.after, reason=self.error.reason, retries=retries)


def verdict_of(reason: str) -> str:
    """`Outcome.verdict` for a fault."""
    if reason == "throttled":
        return "throttled"
    return "failed" if reason in FAILED else "ok"
