"""Parsers and transforms of other packages, found by their entry points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import msgspec

from penstock.connectors.parsers.parsed import Parsed

PARSERS = "penstock.parsers"
TRANSFORMS = "penstock.transforms"
ROUTABLE = ("damaged", "empty", "encrypted", "no_text", "unsupported")
"""Reasons that another parser may be asked about. The others are limits: they hold for every parser."""


class ThirdPartyParser(Protocol):
    """What an entry point of `penstock.parsers` names. Asked before the kinds that are built in."""

    name: str
    """As the entry point is called. `Document.kind` of what it reads."""
    version: str
    """Raise it when the text that it makes changes: what was rejected before is then tried again."""

    def accepts(self, head: bytes, name: str) -> bool:
        """Whether this file is its own, by at most its first 4 KiB. False where files are only routed to it."""
        ...

    def parse(self, data: bytes, name: str) -> Parsed:
        """Raises `Unparsable` where it knows the reason; any other exception is taken as `damaged`."""
        ...


class Transform(Protocol):
    """What an entry point of `penstock.transforms` names. All of them are applied to each document, by name."""

    name: str
    version: str

    def transform(self, parsed: Parsed, name: str) -> Parsed:
        """The document to index in its place; spans count characters of the text that is returned.

        Raises `Unparsable` to reject the file; any other exception rejects it as `plugin_failed`.
        """
        ...


class ParserUnavailable(Exception):
    """No file can be parsed: the installation, its plug-ins or the machine are at fault. One line that says the fix."""


class Setup(msgspec.Struct, frozen=True):
    """Which plug-ins are used, and who is asked when the ordinary parser gives up.

    `plugins`: names of entry points; None means all that are installed. `route`: reason to parser name.
    """

    plugins: tuple[str, ...] | None = None
    route: tuple[tuple[str, str], ...] = ()


class Plugins(msgspec.Struct, frozen=True):
    """Loaded, each group in order of name."""

    parsers: tuple[Any, ...] = ()
    transforms: tuple[Any, ...] = ()

    def versions(self) -> tuple[str, ...]:
        return tuple(f"{each.name} {each.version}" for each in (*self.parsers, *self.transforms))


def setup(plugins: Sequence[str] | None, route: Mapping[str, str] | None) -> Setup:
    """In one order, whatever the order given. Raises `ParserUnavailable` for a reason that cannot be routed."""
    for reason in route or {}:
        if reason not in ROUTABLE:
            raise ParserUnavailable(
                f"a file that is {reason!r} cannot be routed to a parser: use {', '.join(ROUTABLE)}"
            )
    chosen = None if plugins is None else tuple(sorted({*plugins}))
    return Setup(chosen, tuple(sorted((route or {}).items())))


def load(wanted: Setup, built_in: Iterable[str] = ()) -> Plugins:
    """The plug-ins that `wanted` names; a parser may not bear the name of a kind that is `built_in`.

    Raises `ParserUnavailable`, naming the package: one that cannot be imported is an error, not a crash per file.
    """
    parsers, transforms = _chosen(PARSERS, wanted), _chosen(TRANSFORMS, wanted)
    known = {point.name for point in (*parsers, *transforms)}
    if missing := sorted({*(wanted.plugins or ())} - known):
        raise ParserUnavailable(f"plug-in {missing[0]} is not installed: install its package or take it off the list")
    routed = {name for _, name in wanted.route}
    if missing := sorted(routed - {point.name for point in parsers}):
        raise ParserUnavailable(f"parser {missing[0]}, which files are routed to, is not installed or not on the list")
    if taken := sorted({point.name for point in parsers} & {*built_in}):
        raise ParserUnavailable(f"a plug-in calls its parser {taken[0]}, which is built in: leave it out of the list")
    return Plugins(
        tuple(_loaded(point, ("accepts", "parse")) for point in parsers),
        tuple(_loaded(point, ("transform",)) for point in transforms),
    )


def _chosen(group: str, wanted: Setup) -> list[EntryPoint]:
    points = {point.name: point for point in entry_points(group=group)}
    return [points[name] for name in sorted(points) if wanted.plugins is None or name in wanted.plugins]


def _loaded(point: EntryPoint, methods: tuple[str, ...]) -> Any:
    whose = f"plug-in {point.name} ({point.value} of {point.dist.name if point.dist else 'an installed package'})"
    try:
        found = point.load()
    except Exception as error:  # whatever somebody else's package raises
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ParserUnavailable(f"{whose} cannot be loaded ({said}): mend it, or leave it out of the list") from error
    found = found() if isinstance(found, type) else found
    missing = [each for each in ("name", "version", *methods) if not hasattr(found, each)]
    if missing:
        raise ParserUnavailable(f"{whose} has no {', '.join(missing)}: mend it, or leave it out of the list")
    if found.name != point.name:
        raise ParserUnavailable(f"{whose} calls itself {found.name!r}: both names have to be the same")
    return found
