"""Memory that was freed goes to whoever asks next, whatever thread that is.

glibc gives each thread an arena of its own, up to eight for each core, and what was freed in one is not there for the
others: with the threads of a run, 100 MB of text left 180 MB of free memory in them that nobody could use.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2


def shared() -> None:
    """From now on, new threads of this process share two arenas. Does nothing where the C library is not glibc."""
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (OSError, AttributeError):
        return
