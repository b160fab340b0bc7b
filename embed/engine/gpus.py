"""The GPUs that torch can use, and how much of their memory is free."""

from __future__ import annotations

import msgspec


class Gpu(msgspec.Struct, frozen=True):
    """`device` is torch's name for it, such as `cuda:0`. `free` and `total` in bytes, as of now, for all programs."""

    device: str
    name: str
    free: int
    total: int


def gpus() -> list[Gpu]:
    """All of them; [] where torch sees none. Loads torch. Raises what a driver that is not well makes torch raise."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        found.append(Gpu(f"cuda:{number}", str(torch.cuda.get_device_name(number)), int(free), int(total)))
    return found
