"""What the GPUs are doing, by NVML (nvidia-ml-py, which `penstock[gpu]` installs). Without it, or without a GPU:
nothing, which is no error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

MOST = 64


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, whoever uses it. `device`: its place, as `cuda:0` has it where all are visible. `busy`: 0 to 1."""

    device: str
    used_bytes: int
    total_bytes: int
    busy: float | None


def gpus() -> list[Gpu]:
    """All GPUs of the machine, as they are now. Raises nothing."""
    found: list[Gpu] = []
    with suppress(Exception), _nvml() as nvml:
        for number in range(min(nvml.nvmlDeviceGetCount(), MOST)):
            with suppress(nvml.NVMLError):  # one that fell off the bus says nothing; the others do
                found.append(_one(nvml, number))
    return found


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, begun and ended: nothing of it stays between two looks, which take milliseconds."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _one(nvml: Any, number: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    busy: float | None = None
    with suppress(nvml.NVMLError):  # not every device says: a slice of one (MIG) does not
        busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return Gpu(f"cuda:{number}", int(memory.used), int(memory.total), busy)
