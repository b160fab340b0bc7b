"""What there is to compute with."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.embed.engine import memory
from penstock.embed.engine.cores import cores
from penstock.flows.answers.doctor import Finding, Machine
from penstock.flows.answers.render import size

FLAGS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512f", "avx2", "bf16", "asimdhp", "sve")
LEAST_MEMORY = 2 << 30
"""Bytes that a model, its parsers and a shard in hand are comfortable with."""
LEAST_FILES = 1024
_NVIDIA = Path("/proc/driver/nvidia/gpus")


def machine(
    proc: Path = Path("/proc"),
    load: Callable[[], tuple[float, float, float]] = os.getloadavg,
    free: Callable[[], memory.Memory | None] = memory.host,
) -> Machine:
    """Without loading anything; `gpus` is left for who asks torch."""
    said = _cpuinfo(proc / "cpuinfo")
    flags = set(said.get("flags", said.get("Features", "")).split())
    found = free()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=said.get("model name") or platform.machine() or "unknown",
        cores=os.cpu_count() or 1,
        usable=cores(),
        load=load()[0],
        flags=[flag for flag in FLAGS if flag in flags],
        memory_free=found.free if found else None,
        memory_total=found.total if found else None,
        memory_limit=found.limit if found else "",
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def findings(found: Machine) -> Iterator[Finding]:
    """What is scarce."""
    if found.memory_free is not None and found.memory_free < LEAST_MEMORY:
        what = f"only {size(found.memory_free)} of memory are free ({found.memory_limit})"
        yield Finding("warning", what, "end other programs, or give this one more memory")
    if 0 <= found.open_files < LEAST_FILES:
        yield Finding("warning", f"only {found.open_files} open files are allowed", "ulimit -n 4096")
    if found.load > found.usable:
        what = f"the machine is busy (load {found.load:.1f} on {found.usable} cores): what is measured is too low"
        yield Finding("note", what)
    if found.usable < found.cores:
        yield Finding("note", f"{found.usable} of {found.cores} cores may be used: affinity or a container's quota")


def driver(nvidia: Path = _NVIDIA) -> bool:
    """Whether there is a GPU whose driver is loaded."""
    return nvidia.is_dir() and any(nvidia.iterdir())


def unseen(found: Machine) -> Iterator[Finding]:
    """A GPU that the driver knows and torch does not."""
    if found.gpus == []:
        what = "the driver knows a GPU, and torch sees none: it was built for CPUs, or for another CUDA version"
        yield Finding("warning", what, "install torch for your CUDA version: docs/gpu.md")


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's."""
    try:
        text = path.read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
