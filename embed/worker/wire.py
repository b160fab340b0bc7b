"""What an encoder and the process it lives in say to each other: one msgpack message per packet.

The encoder says `Load` once and hears `Ready`. Then `Work` lays a sheet before the process, and each `Compute` is
answered by any number of `Came` and one `Finished`. `Stop` ends a piece of work at the next batch, without an answer.
What belongs to a piece of work carries its number, so that late words of an earlier one are told apart.
"""

from __future__ import annotations

import builtins
import importlib
from typing import TypeAlias

import msgspec

from penstock.embed.types import EncoderSpec, Refused

LARGEST = 1 << 17
"""Bytes of a packet: what the kernel takes for a socket without asking."""
MOST_TEXT = 16_000
"""Characters of a text in a packet."""
MOST_REFUSED = 64


class Load(msgspec.Struct, frozen=True, tag=True):
    spec: EncoderSpec
    engine: str
    """`module:callable`."""
    level: int
    """Of logging: what is below is not sent."""


class Work(msgspec.Struct, frozen=True, tag=True):
    """A sheet's descriptor comes with it."""

    job: int
    rows: int
    tokens: int
    dim: int


class Compute(msgspec.Struct, frozen=True, tag=True):
    """The first `count` positions of the sheet's `group`, in one call of the engine."""

    job: int
    count: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stop at the next batch, if any, and let go of the sheet. Not answered."""

    job: int


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Questions to embed. A sheet's descriptor comes with it; its ids are their msgpack, of `count` bytes."""

    job: int
    rows: int
    tokens: int
    dim: int
    count: int


class Bye(msgspec.Struct, frozen=True, tag=True):
    """End when the batch in hand is done."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    dim: int
    max_tokens: int
    identity: dict[str, str]
    provenance: dict[str, str]
    announces: bool


class Came(msgspec.Struct, frozen=True, tag=True):
    """Vectors are on the sheet, for the positions order[start:start + count]. `refused` by position on the sheet."""

    job: int
    start: int
    count: int
    tokens: int
    padded: int
    billed: int
    refused: tuple[Refused, ...]


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The vectors of the questions are on the sheet."""

    job: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    job: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It raised; the process is well. `kinds` are the classes of the error, itself first. Job 0 is loading."""

    job: int
    kinds: tuple[str, ...]
    message: str
    after: float | None = None


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The engine raised what it may not raise: the process is not to be trusted any more."""

    job: int
    detail: str


class Said(msgspec.Struct, frozen=True, tag=True):
    """A record of logging, or a warning."""

    name: str
    level: int
    text: str


ToProcess: TypeAlias = Load | Work | Compute | Stop | Ask | Bye
FromProcess: TypeAlias = Ready | Came | Finished | Answered | Failed | Lost | Said


def failed(job: int, error: BaseException) -> Failed:
    """An error, as far as it can cross."""
    kinds = tuple(f"{kind.__module__}:{kind.__qualname__}" for kind in type(error).__mro__)
    after = getattr(error, "after", None)
    return Failed(job, kinds, str(error)[:MOST_TEXT], after if isinstance(after, int | float) else None)


def raised(failure: Failed) -> Exception:
    """The error again, or what of its bases is Python's or ours: no library is imported for the sake of an error."""
    for kind in failure.kinds:
        module, _, name = kind.partition(":")
        if module == builtins.__name__ or module.startswith("penstock."):
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and issubclass(found, Exception) and (error := _made(found, failure)):
                return error
    return RuntimeError(failure.message)


def _made(kind: type[Exception], failure: Failed) -> Exception | None:
    """None for a class that is not made of one message, and for one that says nothing."""
    try:
        error = kind(failure.message)
    except TypeError:
        return None
    if failure.after is not None:
        error.after = failure.after  # type: ignore[attr-defined]
    return error if str(error) == failure.message and kind is not Exception else None
