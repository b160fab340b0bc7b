"""Which settings and which home a command works with, from what stands on its command line."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows import home as homes
from penstock.flows.console import Console
from penstock.flows.settings import DEFAULT_FILE, Settings, load

if TYPE_CHECKING:
    from penstock.flows.home import Home
    from penstock.index.reader import Reader


class Context(msgspec.Struct, frozen=True):
    """`config` is the file that `settings` came from, None if they are the defaults; `home` is absolute."""

    settings: Settings
    home: Path
    config: Path | None

    def required(self) -> Home:
        """The home, which must be there. Raises `NoHome`, naming the nearest one."""
        return homes.require(self.home)

    def begun(self) -> bool:
        """Whether anything was ever written here: a replica, or a catalog that says where replicas should be."""
        paths = self.settings.replica_paths(self.home).values()
        return any(path.exists() for path in paths) or homes.Home(self.home).catalog.exists()


def opened(ctx: Context, console: Console) -> Reader | None:
    """The newest published version; None while nothing was ever committed here.

    Raises `NoHome`; `Unavailable` if there should be an index and no replica can be read; what `Reader` raises.
    """
    from penstock.flows import wiring
    from penstock.index import log
    from penstock.index.errors import Unavailable, WrongIndex

    home = ctx.required()
    if not ctx.begun():
        return None
    stores = wiring.stores(ctx.settings, home)
    if not any(store.root.is_dir() for store in stores.values()):
        raise Unavailable(f"no replica of {home.path} is there; bring a disk back, or restore a copy of the home")
    try:
        return wiring.open_reader(ctx.settings, home, console.say)
    except WrongIndex:
        if any(log.entries(store) for store in stores.values() if store.root.is_dir()):
            raise
        return None


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


def same_place(arguments: argparse.Namespace) -> str:
    """What the next command needs, to mean this home."""
    options = (("--home", arguments.home), ("--config", arguments.config))
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options if value is not None)
