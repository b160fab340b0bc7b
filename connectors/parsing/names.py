"""The parser of each kind by name and version, as documents and rejections remember it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from penstock.connectors.parsing.plugins import Setup, load, setup

# Our own part of a parser's version, to be raised when the text that it makes changes; then its libraries.
_PARSERS: dict[str, tuple[str, ...]] = {
    "pdf": ("pdf/2", "pypdf", "pypdfium2"),
    "html": ("html/2", "lxml", "trafilatura"),
    "markdown": ("markdown/1", "markdown-it-py"),
    "docx": ("docx/2", "python-docx"),
    "pptx": ("pptx/1", "python-pptx"),
    "xlsx": ("xlsx/1", "openpyxl"),
    "csv": ("csv/1", "charset-normalizer"),
    "json": ("json/1", "charset-normalizer"),
    "jsonl": ("jsonl/1", "charset-normalizer"),
    "eml": ("eml/1", "lxml"),
    "zip": ("zip/1", "charset-normalizer"),
    "text": ("text/1", "charset-normalizer"),
    "none": ("sniff/2", "charset-normalizer"),
}

_HOLDERS = ("eml", "zip")  # what they make of a file depends on every other parser


def parser_names(plugins: Sequence[str] | None = None, route: Mapping[str, str] | None = None) -> dict[str, str]:
    """The parser of each kind as `Document.parser` and `Rejected.parser` name it; `none` is for no kind.

    A rejected item whose parser is not among these values was judged by another version, or before a plug-in or a
    route was added: try it again. `plugins` and `route` as for `ParserPool`. Raises `ParserUnavailable`.
    """
    return names(setup(plugins, route))


def pipeline_versions(plugins: Sequence[str] | None = None, route: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """All that the text of a document depends on: kinds, libraries, plug-ins and routes; sorted, for a fingerprint."""
    return tuple(sorted(parser_names(plugins, route).values()))


@cache
def names(wanted: Setup) -> dict[str, str]:
    """As `parser_names`. Every name ends in the plug-ins: any of them may take a file away from its kind, or change
    its text."""
    found = load(wanted, _PARSERS)
    own = {kind: "+".join([mine, *map(_installed, libraries)]) for kind, (mine, *libraries) in _PARSERS.items()}
    inside = hashlib.sha256("\n".join(sorted(own.values())).encode()).hexdigest()[:12]
    own |= {kind: f"{own[kind]}+parsers {inside}" for kind in _HOLDERS}
    own |= {each.name: f"{each.name} {each.version}" for each in found.parsers}
    routed = tuple(f"{reason} to {name}" for reason, name in wanted.route)
    also = ", ".join((*found.versions(), *routed))
    return {kind: f"{name}; {also}" if also else name for kind, name in own.items()}


def _installed(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"{library} not installed"
