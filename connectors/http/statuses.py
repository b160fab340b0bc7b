"""What to do after an answer that is not what was asked for, by its status."""

from __future__ import annotations

from penstock.connectors.http.asking import Ask
from penstock.connectors.http.faults import Fault
from penstock.connectors.types import RetryLater, StopSource

REDIRECTS = (301, 302, 303, 307, 308)


def judged(status: int, ask: Ask, cooldown: float, *, one_item: bool) -> Exception:
    """What to raise. `one_item`: the request was for one item's body, and what the source refuses is that item.

    `cooldown`: seconds that the answer asks everybody to wait.
    """
    said = f"{ask.shown} answered {status}"
    if status in (404, 410):
        return FileNotFoundError(said)
    if status == 429 or (status in (403, 503) and cooldown > 0):
        return Fault("throttled", said, cooldown=cooldown)
    if status == 408:
        return Fault("timeout", said, cooldown=cooldown)
    if status in (425,) or (status >= 500 and status not in (501, 505)):
        verdict = "throttled" if status == 503 else "failed"
        return Fault("server_error", said, cooldown=cooldown, verdict=verdict)
    if status == 403:
        return RetryLater(f"{said}: the source does not let us read this", reason="forbidden")
    if status < 400:
        return Fault("garbled", f"{said}, which makes no sense here")
    if one_item:
        return RetryLater(said, reason="forbidden" if status in (401, 402, 407, 451) else "refused")
    return StopSource(f"{said}: it does not take requests like this; check the source's configuration")
