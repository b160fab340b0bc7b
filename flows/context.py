"""Which settings and which home a command works with, from what stands on its command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from penstock.flows import home as homes
from penstock.flows.settings import DEFAULT_FILE, Settings, load


class Context(msgspec.Struct, frozen=True):
    """`config` is the file that `settings` came from, None if they are the defaults; `home` is absolute."""

    settings: Settings
    home: Path
    config: Path | None


def context(arguments: argparse.Namespace) -> Context:
    """`--home` beats the file's `home`; `./penstock.toml` counts only where neither option is given.

    Makes nothing and requires nothing to exist but the file. Raises `SettingsError`.
    """
    config: Path | None = arguments.config
    if config is None and arguments.home is None and Path(DEFAULT_FILE).is_file():
        config = Path(DEFAULT_FILE)
    config = config.expanduser().absolute() if config else None
    settings = load(config)
    return Context(settings, homes.find(arguments.home, Path(settings.home)), config)
