"""Texts that are on their way through a device: whoever has one in another shard waits for it, and does not pay twice.

Shards are looked through while others are embedded, so the cache cannot know yet what those will bring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Event, Lock


@dataclass(slots=True)
class Claim:
    """What one shard asks for. `theirs`: keys that shards before it bring; `before`: set as each of those is done."""

    theirs: frozenset[bytes] = frozenset()
    before: tuple[Event, ...] = ()
    done: Event = field(default_factory=Event)
    mine: tuple[bytes, ...] = ()

    def settled(self, stopped: Callable[[], bool]) -> bool:
        """Wait for those before. False if a stop was requested first. Nobody ever waits for who came later."""
        for event in self.before:
            while not event.wait(0.1):
                if stopped():
                    return False
        return True


class Claims:
    """The claims of all shards that are being embedded. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owners: dict[bytes, Event] = {}

    def claim(self, keys: Collection[bytes]) -> Claim:
        """Claim these keys, but for those that others have claimed."""
        with self._lock:
            owners = {key: self._owners[key] for key in keys if key in self._owners}
            claim = Claim(frozenset(owners), tuple(dict.fromkeys(owners.values())))
            claim.mine = tuple(key for key in keys if key not in owners)
            self._owners.update(dict.fromkeys(claim.mine, claim.done))
            return claim

    def release(self, claim: Claim) -> None:
        """The vectors of this claim are in the cache, or will not come."""
        with self._lock:
            for key in claim.mine:
                del self._owners[key]
        claim.done.set()
