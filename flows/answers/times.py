"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch from which on a time is no date any more."""


def when(moment: float) -> str:
    """`2026-11-21 08:00:00 UTC`; of what no calendar has, the number itself: it came from elsewhere, and is shown."""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{moment:g} s"
