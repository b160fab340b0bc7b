"""Which kinds of source there are: the built-in ones, and those that installed packages add."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from penstock.connectors.connector import GROUP, Connector

_BUILT_IN = {
    "files": "penstock.connectors.sources.files",
    "mediawiki": "penstock.connectors.sources.mediawiki",
    "objects": "penstock.connectors.sources.objects",
    "rest": "penstock.connectors.sources.rest",
    "sql": "penstock.connectors.sources.sql",
}


class NoConnector(Exception):
    """There is no such kind of source here, or its package cannot be used. The message is one line with the fix."""


def names() -> list[str]:
    """Every `type` that `[sources.NAME]` may have, sorted. Imports none of them."""
    return sorted({*_BUILT_IN, *_installed()})


@cache
def connector(name: str) -> Connector:
    """The connector called `name`; a built-in one cannot be replaced. Raises `NoConnector`."""
    if name in _BUILT_IN:
        try:
            found: Connector = import_module(_BUILT_IN[name]).CONNECTOR
        except ModuleNotFoundError as missing:
            raise NoConnector(f"it needs {missing.name}: pip install 'penstock[all]'") from missing
        return found
    point = _installed().get(name)
    if point is None:
        raise NoConnector(f"known here: {', '.join(names())}")
    try:
        found = point.load()
    except Exception as error:  # whatever somebody else's package raises
        raise NoConnector(f"{point.value} of {_package(point)} cannot be loaded: {error}; mend or remove it") from error
    lacking = [each for each in ("name", "version", "options", "open") if not hasattr(found, each)]
    if lacking:
        raise NoConnector(f"{point.value} of {_package(point)} is no connector: it has no {', '.join(lacking)}")
    return found


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an installed package"
