"""Where the copies of an index are and who must have a commit: by penstock.toml, else by home.json, else two folders.

`penstock replica` writes home.json where the file says nothing, so that a home made without a file can grow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.flows.config import home as homes
from penstock.flows.config import place
from penstock.flows.config.home import Mark
from penstock.flows.config.keys import SettingsError
from penstock.flows.config.settings import Settings, check_quorum

DEFAULT_REPLICAS = 2


class Layout(msgspec.Struct, frozen=True):
    """`replicas`: id → absolute path or URL. `catalog`: an SQLAlchemy URL, password and all: never shown.

    `said`: whether penstock.toml names the replicas (then no command may).
    """

    home: Path
    replicas: dict[str, str]
    write_quorum: int
    catalog: str
    said: bool = False

    @property
    def folders(self) -> dict[str, Path]:
        """The replicas that are folders of this machine."""
        return {name: Path(where) for name, where in self.replicas.items() if not place.is_url(where)}

    @property
    def catalog_file(self) -> Path | None:
        """The catalog where it is an SQLite file."""
        return sqlite_file(self.catalog)

    @property
    def remote(self) -> bool:
        """Whether everything lies elsewhere: the home then holds nothing that cannot be made again."""
        return not self.folders and self.catalog_file is None

    def touched(self) -> bool:
        """Whether anything is there on this machine, or lies where only asking would tell."""
        file = self.catalog_file
        if len(self.folders) < len(self.replicas) or file is None:
            return True
        return file.exists() or any(os.path.lexists(path) for path in self.folders.values())

    def gone(self) -> bool:
        """Whether every replica should be a folder here, and none is."""
        return len(self.folders) == len(self.replicas) and not any(path.is_dir() for path in self.folders.values())


def sqlite_file(catalog: str) -> Path | None:
    """The file of a catalog, an SQLAlchemy URL, that is one."""
    prefix = "sqlite:///"
    return Path(catalog.removeprefix(prefix)) if catalog.startswith(prefix) else None


def layout(settings: Settings, home: Path, environ: Mapping[str, str]) -> Layout:
    """The layout of the home at `home`. Raises `SettingsError`, `NoHome`."""
    index, mark = settings.index, homes.mark(home)
    said = index.replicas is not None
    quorum = index.write_quorum
    if said:
        replicas = _configured(index.replicas, home)
    elif mark.replicas is not None:
        replicas = _marked(mark, home)
        quorum = quorum or mark.write_quorum
    else:
        replicas = _configured(DEFAULT_REPLICAS, home)
    try:
        catalog = place.filled(index.catalog, environ) if index.catalog else f"sqlite:///{home / 'catalog.db'}"
    except place.BadPlace as wrong:
        raise SettingsError(f"index.catalog: {wrong}") from None
    where = "index.write_quorum" if index.write_quorum else str(home / homes.MARK)
    check_quorum(quorum, len(replicas), where)
    return Layout(home, replicas, quorum or majority(len(replicas)), catalog, said)


def majority(replicas: int) -> int:
    """The smallest number of replicas that no other such number can avoid."""
    return replicas // 2 + 1


def remember(found: Layout) -> None:
    """Write the replicas of `found` into home.json, durably; paths within the home stay relative, so that it moves."""
    replicas = {name: _within(where, found.home) for name, where in found.replicas.items()}
    homes.write_mark(found.home, Mark(homes.FORMAT, replicas, found.write_quorum))


def _configured(replicas: int | list[str] | dict[str, str] | None, home: Path) -> dict[str, str]:
    match replicas:
        case int(count):
            return {str(n): str(home / "replicas" / str(n)) for n in range(count)}
        case list(places):
            return {str(n): where for n, where in enumerate(places)}
        case places:
            return dict(places or {})


def _marked(mark: Mark, home: Path) -> dict[str, str]:
    try:
        return {name: place.store(where, home) for name, where in (mark.replicas or {}).items()}
    except place.BadPlace as wrong:
        raise SettingsError(f"{home / homes.MARK}: {wrong}") from None


def _within(where: str, home: Path) -> str:
    if place.is_url(where) or not Path(where).is_relative_to(home):
        return where
    inner = str(Path(where).relative_to(home))
    return f"./{inner}" if ":" in inner else inner  # else it might look like a URL without its slashes
