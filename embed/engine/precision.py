"""Which number format to compute in: decided by what the device can do, how fast it is, and what it costs.

bf16 on a CPU without the instructions can be a hundred times slower than fp32, so a capability flag alone is
not believed: a small measurement and a comparison of vectors decide.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

_BF16_FLAGS = ("amx_bf16", "avx512_bf16")


class Precision(msgspec.Struct, frozen=True):
    """`dtype` is `float32`, `bfloat16` or `float16`; `why` is one line for the log and for provenance."""

    dtype: str
    why: str


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The CPU's bf16 instruction sets, () when it has none or does not say."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return tuple(flag for flag in _BF16_FLAGS if flag in flags)


def candidates(wanted: str, *, low: str, flags: tuple[str, ...], speedup: Callable[[], float]) -> tuple[Precision, ...]:
    """The formats worth trying, the best first: `low` and then float32 when `wanted` is `auto`, else what is wanted.

    `flags` name what makes `low` fast here; `speedup` measures low over fp32 (1.0 is no gain), and is called only if
    there are any. Whether a format leaves vectors where they are is for a parity probe to say. Raises ValueError for
    a format that this device does not take.
    """
    if wanted not in ("auto", "float32", low):
        raise ValueError(f"dtype {wanted}: this device takes auto, float32 or {low}")
    if wanted != "auto":
        return (Precision(wanted, "as configured"),)
    if not flags:
        return (Precision("float32", f"no {low} instructions"),)
    if (gain := speedup()) <= 1.1:
        return (Precision("float32", f"{low} is no faster here ({gain:.2f}x)"),)
    return Precision(low, f"{flags[0]}, {gain:.1f}x fp32"), Precision("float32", f"{low} moves vectors")
