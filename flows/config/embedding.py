"""What of `[embed]` cannot work, refused before anything is read or loaded: the key and the fix."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from penstock.flows.config import devices
from penstock.flows.config.keys import SettingsError

if TYPE_CHECKING:
    from penstock.flows.config.settings import EmbedSettings

_HERE_ONLY = {
    "truncate_dim": "set embed.endpoint.dimensions",
    "dtype": "leave it out",
    "device": "leave it out",
    "devices": "leave it out",
}
"""What says how this machine embeds -> what to do instead where an endpoint does."""


def check(embed: EmbedSettings, said: Collection[str], where: str) -> None:
    """`said`: the dotted keys that somebody wrote down. Raises `SettingsError`, one line: file, key, fix."""
    if not embed.model.strip():
        raise SettingsError(
            f"{where}: embed.model is empty; give a model's folder or name, or leave it out for the default"
        )
    if embed.endpoint is not None:
        for key, fix in _HERE_ONLY.items():
            if f"embed.{key}" in said:
                raise SettingsError(f"{where}: embed.{key} has no effect beside [embed.endpoint]; {fix}")
    _check_devices(embed, said, where)
    if embed.chunk_tokens and embed.overlap_tokens and 2 * embed.overlap_tokens > embed.chunk_tokens:
        raise SettingsError(
            f"{where}: embed.overlap_tokens = {embed.overlap_tokens} is more than half of "
            f"embed.chunk_tokens = {embed.chunk_tokens}; set it to {embed.chunk_tokens // 2} or less"
        )


def _check_devices(embed: EmbedSettings, said: Collection[str], where: str) -> None:
    if "embed.devices" in said and not embed.devices:
        raise SettingsError(f"{where}: embed.devices is empty; name one device at least, or leave it out for the best")
    named = [("embed.device", embed.device)] if embed.device is not None else []
    named += [(f"embed.devices[{number}]", device) for number, device in enumerate(embed.devices)]
    for key, device in named:
        if not devices.is_one(device or ""):
            raise SettingsError(f"{where}: {key} = {device!r} is no device; write cpu, cuda, or a card such as cuda:0")
    ones: dict[str, str] = {}
    for device in embed.devices:
        first = ones.setdefault("cuda:0" if device == "cuda" else device, device)
        if embed.devices.count(device) > 1 or first != device:
            raise SettingsError(
                f"{where}: embed.devices: {first} and {device} are one device; name each once "
                "(a device embeds one shard at a time)"
            )
