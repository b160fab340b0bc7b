"""How many tokens a batch should have: the smallest number that saturates the device, under a memory cap.

More tokens than that make no batch faster; they only take memory, and cost more when they fail. Pure: whoever calls
says how a size is measured and what time it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from penstock.embed.engine.faults import Fault, OutOfMemory, fault

GAIN = 0.05
"""A size that is slower than the best by less than this is as good."""
_ROUNDS = 3


class Trial(msgspec.Struct, frozen=True):
    """One batch of `tokens`: how long it took, and how much memory it needed at its peak (0: not known)."""

    tokens: int
    seconds: float
    memory_bytes: int = 0

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


class Budget(msgspec.Struct, frozen=True):
    """So many tokens to a batch, and why. `trials`: the best of each size, ascending.

    `bound`: what kept larger sizes from being better: `saturated`, `memory`, `time` or `sizes` (none larger was
    to be tried). `memory_cap`: bytes; what it was found under.
    """

    tokens: int
    tokens_per_second: float
    why: str
    trials: tuple[Trial, ...]
    bound: str
    memory_cap: int


def find(
    measure: Callable[[int], Trial],
    sizes: Sequence[int],
    memory_cap: int,
    *,
    clock: Callable[[], float],
    seconds: float,
    release: Callable[[], None] = lambda: None,
) -> Budget:
    """Try `sizes` (tokens, ascending, each about twice the one before) and choose, within about `seconds`.

    Goes up until two sizes in a row bring less than `GAIN` (one could be chance), until the next one would need more
    than `memory_cap` bytes, or until `measure` runs out of memory, after which `release` is called. The time that is
    left goes into measuring the same sizes again in turn, and the best of each counts: other work on the machine makes
    a batch slower, never faster. Raises `OutOfMemory` if not even the smallest fits; what else `measure` raises.
    """
    end = clock() + seconds
    best: dict[int, Trial] = {}
    bound = _climb(measure, sorted(sizes), memory_cap, best, lambda: end - clock(), release)
    if not best:
        raise OutOfMemory(f"not even a batch of {min(sizes):,} tokens fits into {_size(memory_cap)}")
    for _ in range(_ROUNDS - 1):
        for size in sorted(best):
            if best[size].seconds < end - clock() and (again := _tried(measure, size, release)) is not None:
                best[size] = min(best[size], again, key=lambda each: each.seconds)
    return judged(tuple(best[size] for size in sorted(best)), bound, memory_cap)


def judged(trials: Sequence[Trial], bound: str, memory_cap: int) -> Budget:
    """The smallest of the sizes within `memory_cap` that is as fast as the fastest of them.

    Raises `OutOfMemory` if none is within it.
    """
    fitting = [trial for trial in trials if trial.memory_bytes <= memory_cap]
    if not fitting:
        raise OutOfMemory(f"no batch that was tried fits into {_size(memory_cap)}")
    bound = bound if len(fitting) == len(trials) else "memory"
    fastest = max(trial.rate for trial in fitting)
    chosen = next(trial for trial in fitting if trial.rate >= fastest * (1 - GAIN))
    largest = fitting[-1]
    return Budget(
        chosen.tokens, chosen.rate, _why(chosen, largest, bound, memory_cap), tuple(trials), bound, memory_cap
    )


def _climb(
    measure: Callable[[int], Trial],
    sizes: Sequence[int],
    memory_cap: int,
    best: dict[int, Trial],
    left: Callable[[], float],
    release: Callable[[], None],
) -> str:
    """Fill `best` from the smallest size up; returns what ended it."""
    fastest, idle, last = 0.0, 0, None
    for size in sizes:
        if last is not None:
            if last.memory_bytes * size / last.tokens > memory_cap:
                return "memory"
            if size / last.rate > left():
                return "time"
        if (trial := _twice(measure, size, release, left)) is None or trial.memory_bytes > memory_cap:
            return "memory"
        best[size] = last = trial
        idle = 0 if trial.rate > fastest * (1 + GAIN) else idle + 1
        fastest = max(fastest, trial.rate)
        if idle == 2:
            return "saturated"
    return "saturated" if idle else "sizes"


def _twice(
    measure: Callable[[int], Trial], size: int, release: Callable[[], None], left: Callable[[], float]
) -> Trial | None:
    """The better of two: the first of a new size pays for compiling, choosing kernels and growing the allocator."""
    first = _tried(measure, size, release)
    if first is None or first.seconds > left():
        return first
    second = _tried(measure, size, release)
    return None if second is None else min(first, second, key=lambda each: each.seconds)


def _tried(measure: Callable[[int], Trial], size: int, release: Callable[[], None]) -> Trial | None:
    try:
        return measure(size)
    except Exception as error:
        if fault(error) is not Fault.OUT_OF_MEMORY:
            raise
    release()  # here, where the error is gone: its traceback held on to the tensors
    return None


def _why(chosen: Trial, largest: Trial, bound: str, memory_cap: int) -> str:
    said = f"{chosen.tokens:,} tokens a batch: {chosen.rate:,.0f} tokens/s"
    if largest is not chosen:
        more = f"{(largest.rate / chosen.rate - 1) * 100:+.0f} %"
        return f"{said}, the smallest that saturates ({largest.tokens:,} bring {more})"
    match bound:
        case "memory":
            return f"{said}, the largest that fits into {_size(memory_cap)}"
        case "time":
            return f"{said}, the largest that could be tried in time"
        case _:
            return f"{said}, the largest that was tried"


def _size(bytes_: int) -> str:
    return f"{bytes_ / (1 << 30):.1f} GiB" if bytes_ >= 1 << 30 else f"{bytes_ / (1 << 20):.0f} MiB"
