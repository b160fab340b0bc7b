"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch from which on a time is no date any more."""


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(moment: float) -> str:
    """`2026-11-21 08:00:00 UTC`; of what no calendar has, the number itself: it came from elsewhere, and is shown."""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{moment:g} s"
