"""What torch says of a device, and the few things that are asked of it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

from penstock.embed.engine import memory
from penstock.embed.engine.cores import cores
from penstock.embed.models import UnknownModel

CPU = "cpu"


def prepared(device: str | None, threads: int | None) -> str:
    """torch, imported as this process wants it; the name of the device: as said, else CUDA if there is any.

    Raises `UnknownModel` for a GPU that is not there.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # the files are here: nothing may be asked of a network
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # torch's threads spin while they wait for each other. Beside any other busy process on the same cores that
    # makes both several times slower; a short spin costs nothing alone (docs/decisions/0006).
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    import torch

    torch.set_num_threads(threads or cores())
    if device and device.startswith("cuda") and not torch.cuda.is_available():
        raise UnknownModel(f"[embed] device = {device!r}: torch sees no GPU here; leave it out, or say cpu")
    return device or ("cuda" if torch.cuda.is_available() else CPU)


def name_of(device: str) -> str:
    """`cpu`, or what the maker calls it."""
    import torch

    return device if device == CPU else str(torch.cuda.get_device_name(device))


def low(device: str) -> str:
    """The format of two bytes that the device prefers."""
    import torch

    return "float16" if device != CPU and not torch.cuda.is_bf16_supported() else "bfloat16"


def speedup(device: str, dtype: str, clock: Callable[[], float]) -> float:
    """How much faster a matrix product of the size of a layer is in `dtype` than in fp32, best of several."""
    import torch

    def best(number: Any) -> float:
        left, right = (torch.ones(shape, dtype=number, device=device) for shape in ((1024, 384), (384, 1536)))
        times = []
        for _ in range(5):
            started = clock()
            (left @ right).sum().item()
            times.append(clock() - started)
        return min(times)

    with torch.inference_mode():
        return best(torch.float32) / max(best(getattr(torch, dtype)), 1e-9)


def memory_cap(device: str) -> int:
    """Bytes that a batch may take, from what is free now."""
    import torch

    if device == CPU:
        found = memory.host()
        return found.cap(memory.HOST_SHARE) if found else 1 << 30
    return int(torch.cuda.mem_get_info(device)[0] * memory.DEVICE_SHARE)


def forget_peak(device: str) -> None:
    """From now on, `peak` counts anew."""
    import torch

    if device != CPU:
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: str) -> int:
    """Bytes of the device's memory at most since `forget_peak`; 0 on a CPU, where nobody counts."""
    import torch

    return 0 if device == CPU else int(torch.cuda.max_memory_allocated(device))


def release() -> None:
    """Give back what can be given back."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
