"""What a device's errors mean for the next move: a smaller batch, another process, or neither.

Without torch, so that a process that only watches a worker can name its errors too. Errors are told apart by class
name and by their words, because torch raises most of them as RuntimeError and the rest under names that moved.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final


class OutOfMemory(Exception):
    """What was asked for does not fit now: free what is held, and try with less. The device itself is well."""


class DeviceLost(Exception):
    """The device's context is broken for this process and every later call would fail: the process must end.

    What was embedded before is kept. `str(error)` is one line for people.
    """


class Fault(Enum):
    """The handler's next move."""

    OUT_OF_MEMORY = "out_of_memory"
    DEVICE_LOST = "device_lost"
    OTHER = "other"


_MEMORY: Final = re.compile(
    r"out of memory"
    r"|CU[A-Z]+_STATUS_ALLOC_FAILED"
    r"|CUDNN_\w*ALLOC\w*FAILED"
    r"|(?:can't|cannot|could not|failed to) allocate (?:\w+ )?memory"
    r"|not enough memory"
    r"|insufficient memory"
    r"|memoryallocation"
    r"|OUT_OF_(?:HOST|DEVICE)_MEMORY",
    re.IGNORECASE,
)
_LOST: Final = re.compile(
    r"device-side assert"
    r"|illegal (?:memory access|instruction|address)"
    r"|misaligned address"
    r"|unspecified launch failure"
    r"|launch timed out"
    r"|device[ _]lost"
    r"|fallen off the bus"
    r"|uncorrectable (?:NVLink|ECC)"
    r"|\bECC\b.{0,40}\berror"
    r"|\bXid\b"
    r"|\b(?:CUDA|HIP|cuDNN|cuBLAS) error\b"
    r"|CU(?:DNN|BLAS)_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)",
    re.IGNORECASE,
)
_HOPELESS: Final = re.compile(
    r"no kernel image|no CUDA-capable device|driver version is insufficient|invalid device ordinal", re.IGNORECASE
)
"""Said in the words of a lost device, but another process would meet the same."""


def fault(error: BaseException) -> Fault:
    """What `error`, or the error that it was raised from, means.

    Words count only in errors of the kinds that torch and the allocator raise; a ValueError about a text that speaks
    of memory is none of ours.
    """
    seen: BaseException | None = error
    while seen is not None:
        found = _of(seen)
        if found is not Fault.OTHER:
            return found
        seen = seen.__cause__
    return Fault.OTHER


def _of(error: BaseException) -> Fault:
    if isinstance(error, DeviceLost):
        return Fault.DEVICE_LOST
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError | OutOfMemory) or "OutOfMemoryError" in names:
        return Fault.OUT_OF_MEMORY
    if not isinstance(error, RuntimeError):
        return Fault.OTHER
    words = str(error)
    if _MEMORY.search(words):
        return Fault.OUT_OF_MEMORY
    if _HOPELESS.search(words):
        return Fault.OTHER
    if "AcceleratorError" in names or _LOST.search(words):
        return Fault.DEVICE_LOST
    return Fault.OTHER


def first_line(error: BaseException, limit: int = 200) -> str:
    """Class and first line of an error, no longer than `limit` characters: for a reason that people read."""
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0] if words else 'no words'}"[:limit]
