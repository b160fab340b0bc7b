"""Which settings and which home a command works with, from what stands on its command line."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows import wiring
from penstock.flows.commands.console import Console
from penstock.flows.config import home as homes
from penstock.flows.config.layout import Layout, layout
from penstock.flows.config.settings import DEFAULT_FILE, Settings, load

if TYPE_CHECKING:
    from penstock.flows.config.home import Home
    from penstock.index.reading.reader import Reader


class Context(msgspec.Struct, frozen=True):
    """`config` is the file that `settings` came from, None if they are the defaults; `home` is absolute."""

    settings: Settings
    home: Path
    config: Path | None

    def layout(self) -> Layout:
        """Where the copies are. Raises `SettingsError`, `NoHome`."""
        return layout(self.settings, self.home, os.environ)

    def required(self) -> Home:
        """The home, which must be there, unless everything lies elsewhere. Raises `NoHome`, naming the nearest one."""
        if not (self.home / homes.MARK).exists() and self.layout().remote:
            return homes.create(self.home)
        return homes.require(self.home, [each.url for each in self.settings.snapshots.places])

    def begun(self) -> bool:
        """Whether anything was ever written here: a replica, or a catalog that says where replicas should be."""
        return self.layout().touched()


def opened_by_flow(home: str | None, config: str | None) -> tuple[Settings, Home | None]:
    """What a flow works on: `home` beats that of the file, as on the command line. No home where nothing was ever
    committed: a schedule may well begin before the first ingest; where a home was lost, the next ingest says so and
    fails. Raises `NoHome`, `SettingsError`.
    """
    path = wiring.configured(config)
    settings = load(path)
    context = Context(settings, wiring.home_of(home, config), path)
    return settings, context.required() if context.begun() else None


def opened(ctx: Context, console: Console, but: str = "") -> Reader | None:
    """The newest published version; None while nothing was ever committed here. Replica `but` is not looked at.

    Raises `NoHome`; `Unavailable` if there should be an index and no replica can be read; what `Reader` raises.
    """
    from penstock.flows import wiring
    from penstock.index.commits import log
    from penstock.index.errors import Unavailable, WrongIndex

    home, found = ctx.required(), ctx.layout()
    if not found.touched():
        return None
    if found.gone():
        if not wiring.decided(ctx.settings, home):
            return None
        raise Unavailable(f"no replica of {home.path} is there; bring a disk back, or restore a copy of the home")
    try:
        return wiring.open_reader(ctx.settings, home, console.say, but)
    except WrongIndex:
        stores = wiring.stores(ctx.settings, home)
        absent = {name for name, path in found.folders.items() if not path.is_dir()}
        if any(log.entries(store) for name, store in stores.items() if name not in absent):
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
