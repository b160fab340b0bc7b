"""What happens when a batch does not fit: the same sequences again in smaller batches, and nothing lost.

Pure: what a batch is, how it is computed, halved and freed, is the caller's. Errors are told apart by `faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from penstock.embed.engine.faults import DeviceLost, Fault, fault, first_line
from penstock.embed.types import EncoderUnavailable

B = TypeVar("B")
R = TypeVar("R")
X = TypeVar("X")

ENOUGH = 8
"""Sequences in a row that do not fit alone, and nothing that did: then it is not the sequences."""


class Allowance:
    """How many tokens a batch may have now: never more than `most`, which the probe found; less while memory is short.

    Halved by what does not fit. Grown by a quarter after `patience` batches in a row that did; if the larger size then
    fails, it goes back to the last that held, and the next attempt has to wait twice as long (at most `PATIENCE_MOST`):
    where memory stays short, failures become rare, and never a rhythm. Patience is short again once `most` has held.
    """

    PATIENCE, PATIENCE_MOST, STEP = 32, 4096, 1.25

    def __init__(self, most: int, least: int, patience: int = PATIENCE, patience_most: int = PATIENCE_MOST) -> None:
        if not 0 < least <= most:
            raise ValueError(f"an allowance from {least} to {most} tokens")
        self.most, self.least, self.tokens = most, least, most
        self.proven = most
        """The largest batch that is known to have fitted on this device, in this process."""
        self._shortest, self._longest, self._patience = patience, patience_most, patience
        self._row, self._held = 0, 0  # fitting batches in a row; the size before it was grown, 0 if it was not

    def fitted(self, tokens: int) -> None:
        """A batch of so many tokens was computed. A small one proves nothing, and does not count."""
        self.proven = max(self.proven, tokens)
        if 2 * tokens < self.tokens:
            return
        self._row += 1
        if self._row < self._patience:
            return
        self._row = 0
        if self.tokens == self.most:
            self._patience, self._held = self._shortest, 0
        else:
            self._held = self.tokens
            self.tokens = min(self.most, max(self.tokens + 1, int(self.tokens * self.STEP)))

    def failed(self, tokens: int) -> None:
        """A batch of so many tokens did not fit."""
        self._patience = min(2 * self._patience, self._longest)
        if self._held and tokens > self._held:
            self.tokens = self._held
        else:
            self.tokens = max(self.least, min(self.tokens, tokens) // 2)
        self._row, self._held = 0, 0


def computed(
    batches: Iterable[B],
    forward: Callable[[B], R],
    *,
    size: Callable[[B], int],
    halves: Callable[[B], tuple[B, B] | None],
    release: Callable[[], None],
    too_large: Callable[[B], X],
    allowance: Allowance,
    control: Callable[[int], object] | None = None,
) -> Iterator[R | X]:
    """Yield `forward(batch)` of every batch, or of its parts; each sequence exactly once.

    `batches` may be a generator that plans with `allowance.tokens`. `size`: tokens of a batch, padding counted.
    `halves`: the two halves of a batch, None for a single sequence. `release`: gives back all memory that can be given
    back; called when the failed attempt holds none any more.

    What does not fit alone is put aside, and tried again after all others. If it still does not fit, `too_large(it)` is
    yielded, provided that it is its own fault: it is larger than anything that ever fitted, something as large
    fitted since, or `control(its tokens)`, which computes any other batch of that size, does. Otherwise the
    memory was taken by somebody else: raises `EncoderUnavailable`, and no document is blamed.
    Raises `DeviceLost`; what else `forward` raises.
    """
    judge = _Judge(forward, size, release, too_large, allowance, control)
    for planned in batches:
        waiting = [planned]
        while waiting:
            batch = waiting.pop()
            parts = halves(batch)
            if parts is not None and size(batch) > allowance.tokens:
                waiting += reversed(parts)  # planned before the allowance shrank
            elif (found := judge.tried(batch)) is not None:
                yield found[0]
            elif parts is not None:
                waiting += reversed(parts)
            else:
                judge.aside.append(batch)
        if len(judge.aside) >= ENOUGH and not judge.seen:
            yield from judge.judged()
    yield from judge.judged()


class _Judge(Generic[B, R, X]):
    """Tries batches, and says of those that did not fit alone whose fault that is."""

    def __init__(
        self,
        forward: Callable[[B], R],
        size: Callable[[B], int],
        release: Callable[[], None],
        too_large: Callable[[B], X],
        allowance: Allowance,
        control: Callable[[int], object] | None,
    ) -> None:
        self._forward, self._size, self._release = forward, size, release
        self._too_large, self._allowance, self._control = too_large, allowance, control
        self.aside: list[B] = []
        self.seen = 0
        """The largest that fitted since the first was put aside."""

    def tried(self, batch: B) -> tuple[R] | None:
        """The result; None if it did not fit, and what it held is given back."""
        tokens, found = self._size(batch), _tried(self._forward, batch)
        if found is None:
            self._release()
            self._allowance.failed(tokens)
            return None
        self._allowance.fitted(tokens)
        self.seen = max(self.seen, tokens) if self.aside else 0
        return found

    def judged(self) -> Iterator[R | X]:
        """All that were put aside, tried once more. Raises `EncoderUnavailable`."""
        for alone in self.aside:
            if (found := self.tried(alone)) is not None:
                yield found[0]
            else:
                yield self._blamed(alone, self._size(alone))
        self.aside.clear()
        self.seen = 0

    def _blamed(self, alone: B, tokens: int) -> X:
        control = self._control
        if tokens > self._allowance.proven or self.seen >= tokens:
            return self._too_large(alone)
        if control is not None and _tried(control, tokens) is not None:
            return self._too_large(alone)
        raise EncoderUnavailable(
            f"a batch of {tokens:,} tokens does not fit into the device's memory any more, though larger ones did: "
            "another program has taken it; free the device, then run again",
            after=60.0,
        )


def _tried(forward: Callable[[B], R], batch: B) -> tuple[R] | None:
    """None: out of memory. When this returns, the error is gone, and with its traceback all that it held on to."""
    try:
        return (forward(batch),)
    except DeviceLost:
        raise
    except Exception as error:
        match fault(error):
            case Fault.DEVICE_LOST:
                raise DeviceLost(first_line(error)) from error
            case Fault.OTHER:
                raise
    return None
