"""How the rough source misbehaves, by seed: what is done to a request is a pure function of
(seed, target, how often that target was asked before), so that a history replays.

    Faults(seed, spread(0.3, LANDS), at_most=3)      # every target is answered at the fourth try at the latest
    Faults(seed, {"truncated": 1.0}, at_most=1)      # one kind alone, once per target

`Spell`s are weather: they strike everybody, from the Nth request on, for some seconds or for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KINDS = {
    "throttled": "429 with Retry-After in seconds",
    "throttled_date": "429 with Retry-After as a date, by the server's own clock",
    "throttled_bare": "429 that does not say for how long",
    "error_500": "500",
    "error_502": "502 with an HTML page",
    "error_503": "503 without a word",
    "reset": "the connection is reset before a byte of the answer",
    "reset_mid": "the connection is reset in the middle of the body",
    "truncated": "the connection is closed in the middle of the body, in good order",
    "too_long": "Content-Length says more than there is",
    "too_short": "Content-Length says less than there is, and only that comes",
    "stalled": "the body stops in the middle and the connection stays",
    "loris": "the head drips in, a byte at a time",
    "drip": "the body drips in, a byte at a time",
    "silent": "nothing is answered at all",
    "garbage": "200 with noise, as long as the body would be, under the headers of the body",
    "error_page": "200 with an HTML page that says sorry in place of JSON (for files as `error_502`)",
    "other_page": "the same in place of a file too, where only the listed size tells it from the file",
    "wrong_digest": "the right body under another digest (files; elsewhere as `error_500`)",
    "gzip_bomb": "a few hundred KB that unpack to very much more",
    "huge_header": "a header of a megabyte",
    "redirect_loop": "a redirect to itself",
    "redirect_private": "a redirect to a link-local address, the metadata service of clouds",
    "redirect_elsewhere": "a redirect to another origin that records what it was sent",
    "forbidden": "403",
    "expired": "401, although the token was good",
    "not_found": "404 for what is there",
}
"""Every kind of misbehaviour and what it is."""

LANDS = [
    "throttled",
    "throttled_date",
    "throttled_bare",
    "error_500",
    "error_502",
    "error_503",
    "reset",
    "reset_mid",
    "truncated",
    "too_long",
]
"""Kinds that a patient client gets over at once: nothing of them takes time."""
SLOW = ["stalled", "loris", "drip", "silent"]
"""Kinds that cost the client a deadline each."""
LIES = ["too_short", "garbage", "error_page", "wrong_digest"]
"""Kinds that look like an answer."""
HOSTILE = ["gzip_bomb", "huge_header", "redirect_loop", "redirect_private", "forbidden", "not_found"]
"""Kinds that no repetition need mend."""


def spread(rate: float, kinds: Iterable[str]) -> dict[str, float]:
    """The same share of `rate` for each kind."""
    names = list(kinds)
    return {name: rate / len(names) for name in names}


def chance(*key: object) -> float:
    """A number in [0, 1) that depends on nothing but `key`."""
    digest = hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class Faults:
    """`rates`: kind -> share of requests. A target that was asked `at_most` times is left in peace; None: never.

    `only`: the beginning of the targets that may be struck. `wait`: seconds of Retry-After. `stall`: for how long
    slow kinds go on if nobody leaves.
    """

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    at_most: int | None = 3
    only: tuple[str, ...] = ("/",)
    wait: int = 1
    stall: float = 30.0

    def __post_init__(self) -> None:
        unknown = set(self.rates) - set(KINDS)
        if unknown or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError(f"no such kinds {sorted(unknown)}, or rates beyond 1")

    def decide(self, target: str, asked: int) -> str | None:
        """What is done to a request for `target` that was asked `asked` times before. Pure."""
        if not target.startswith(self.only) or (self.at_most is not None and asked >= self.at_most):
            return None
        drawn = chance(self.seed, target, asked)
        for kind, rate in self.rates.items():
            if drawn < rate:
                return kind
            drawn -= rate
        return None


@dataclass(frozen=True, slots=True)
class Spell:
    """From the `after`-th request on (counted from 1) everything ends in `kind`, for `seconds` (None: for good).

    `throttled` (429) and `maintenance` (503) say in Retry-After how long it still lasts; other kinds say nothing.
    Requests that come meanwhile do not count for `Faults`.
    """

    kind: str
    after: int
    seconds: float | None = None
    only: str = "/"
