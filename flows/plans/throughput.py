"""How fast earlier runs were, kept in the home's cache for the next plan: `throughput.json`.

For cost, never for truth: whatever is wrong with the file, nothing is known, and it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.flows.plans.estimate import Speed
from penstock.flows.runs.accounting import Accounting
from penstock.index.decoding import decode

FILE = "throughput.json"
FORMAT = 1
LEAST = 20_000
"""Tokens. A run of fewer says more about its start than about the device."""
_MOST = 200
"""Entries of each kind; the oldest go."""


class Rate(msgspec.Struct, frozen=True):
    """Tokens a second, measured over `tokens` at the time `at`. `load_seconds`: how long the model was waited for."""

    tokens_per_second: float
    tokens: int = 0
    at: float = 0.0
    load_seconds: float = 0.0


class Throughput(msgspec.Struct, frozen=True):
    """All that is known. `devices` by `device_key`, `sources` (fetching, parsing, cutting) by name."""

    format: int = FORMAT
    devices: dict[str, Rate] = {}
    sources: dict[str, Rate] = {}

    def speed(self, device: str) -> Speed:
        """What a plan for this device may expect."""
        found = self.devices.get(device)
        sources = {name: rate.tokens_per_second for name, rate in self.sources.items()}
        if found is None:
            return Speed(sources=sources)
        return Speed(found.tokens_per_second, found.load_seconds, sources)


def read(folder: Path) -> tuple[Throughput, str]:
    """What the file in `folder` says, and what is wrong with it ("" if nothing is; a missing one is not wrong)."""
    path = folder / FILE
    try:
        found = decode(path.read_bytes(), Throughput)
    except (FileNotFoundError, NotADirectoryError):
        return Throughput(), ""
    except OSError as error:
        return Throughput(), f"{path} cannot be read ({error.strerror})"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Throughput(), f"{path} is damaged"
    if found.format > FORMAT:
        return Throughput(), f"{path} is of a newer penstock"
    if any(not _sound(rate) for rate in (*found.devices.values(), *found.sources.values())):
        return Throughput(), f"{path} is damaged"
    return found, ""


def remember(folder: Path, devices: Mapping[str, Rate], sources: Mapping[str, Rate], token: str) -> None:
    """Add what a run measured; rates over too few tokens are left out. Raises `OSError`.

    Of two runs that end at the same time one may be forgotten.
    """
    devices, sources = _enough(devices), _enough(sources)
    if not devices and not sources:
        return
    known, _ = read(folder)
    said = Throughput(FORMAT, _newest({**known.devices, **devices}), _newest({**known.sources, **sources}))
    folder.mkdir(parents=True, exist_ok=True)
    temp = folder / f"{FILE}.{token}"
    try:
        temp.write_bytes(msgspec.json.encode(said) + b"\n")
        temp.replace(folder / FILE)
    finally:
        temp.unlink(missing_ok=True)


def of_device(account: Accounting, at: float) -> Rate:
    """What a run measured of the device."""
    load = account.stage_seconds.get("load model", 0.0)
    spent = account.stage_seconds.get("embed", 0.0)
    rate = account.embedded_tokens / spent if spent > 0 else 0.0  # of a quick run, too: tokens are what must be enough
    return Rate(rate, account.embedded_tokens, at, load)


def of_source(account: Accounting, prepared: int, at: float) -> Rate:
    """What a run of one source measured of fetching, parsing and cutting: `prepared` tokens came of it."""
    spent = account.stage_seconds.get("prepare", 0.0)
    return Rate(prepared / spent if spent > 0 else 0.0, prepared, at)


def device_key(identity: Mapping[str, str], device: str | None, hardware: str) -> str:
    """Names a model on a device. `device`: as configured, None for the best there is."""
    said = "\n".join(f"{key}={identity[key]}" for key in sorted(identity))
    model = hashlib.sha256(said.encode()).hexdigest()[:16]
    return f"model {model}, device {device or 'best'}, {hardware}"


def hardware(root: Path = Path("/proc")) -> str:
    """What this machine computes with, without loading anything that could use it: cores, processor, cards."""
    words = [f"{len(os.sched_getaffinity(0))} cores"]
    words += _values(root / "cpuinfo", "model name")[:1]
    cards = root / "driver" / "nvidia" / "gpus"
    if cards.is_dir():
        words += [name for card in sorted(cards.iterdir()) for name in _values(card / "information", "Model")[:1]]
    return ", ".join(words)


def _values(path: Path, key: str) -> list[str]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _sound(rate: Rate) -> bool:
    return 0 < rate.tokens_per_second < 1e12 and 0 <= rate.load_seconds < 1e6


def _enough(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    return {key: rate for key, rate in rates.items() if rate.tokens >= LEAST and _sound(rate)}


def _newest(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    kept = sorted(rates, key=lambda key: rates[key].at)[-_MOST:]
    return {key: rates[key] for key in kept}
