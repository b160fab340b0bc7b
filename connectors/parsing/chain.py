"""What happens to the bytes of one file: whose it is, who is asked next, and what is done to its text."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import msgspec

from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.parsing.bounds import Bounds, Misplaced
from penstock.connectors.parsing.plugins import Plugins
from penstock.connectors.parsing.sniff import kind_of
from penstock.connectors.parsing.wire import Text, Trouble, Unfit
from penstock.connectors.types import Failed

Parse = Callable[[str, bytes, str], Parsed]
_HEAD = 4096


def parse_kind(kind: str, data: bytes, name: str) -> Parsed:
    """Parses with the module for `kind`; its library is imported when it is first needed."""
    module = importlib.import_module(f"penstock.connectors.parsers.{kind}")
    parsed: Parsed = module.parse(data, name)
    return parsed


class Chain:
    """Third-party parsers, then the built-in kinds by `parse`; then the parser that `route` names for a reason; then
    the transforms. Whatever any of them raises becomes a verdict, but for `MemoryError`."""

    def __init__(self, plugins: Plugins, route: Mapping[str, str], parse: Parse = parse_kind) -> None:
        self._parsers = {each.name: each for each in plugins.parsers}
        self._transforms = plugins.transforms
        self._route = route
        self._parse = parse

    def kind(self, data: bytes, name: str) -> tuple[str, Unfit | None]:
        """The kind, or `none` and the reason."""
        for parser in self._parsers.values():
            if data and self._accepts(parser, data, name):
                return str(parser.name), None
        try:
            return kind_of(data, name), None
        except Unparsable as error:
            return "none", Unfit(error.reason, error.detail)
        except MemoryError:
            raise
        except Exception as error:  # it looks into archives
            return "none", Unfit("damaged", f"what {name} is cannot be told: {_said(error)}")

    def verdict(
        self, kind: str, refused: Unfit | None, data: bytes, name: str, bounds: Bounds
    ) -> Text | Unfit | Trouble:
        """What becomes of a file of that kind. Raises `MemoryError`."""
        found = refused or self._parsed(kind, data, name, bounds)
        other = self._route.get(found.reason) if isinstance(found, Unfit) else None
        if other is not None and other != kind:
            kind, found = other, self._parsed(other, data, name, bounds)
        if isinstance(found, Parsed):
            found = self._transformed(found, name, bounds)
        if isinstance(found, Parsed):
            return Text(found.text, found.title, found.pages, found.headings, found.metadata, kind)
        return found if isinstance(found, Trouble) else msgspec.structs.replace(found, kind=kind)

    def _accepts(self, parser: object, data: bytes, name: str) -> bool:
        try:
            return bool(parser.accepts(data[:_HEAD], name))  # type: ignore[attr-defined]
        except MemoryError:
            raise
        except Exception:  # hostile bytes: then it is not its file
            return False

    def _parsed(self, kind: str, data: bytes, name: str, bounds: Bounds) -> Parsed | Unfit | Trouble:
        own = self._parsers.get(kind)
        try:
            return bounds.check(own.parse(data, name) if own else self._parse(kind, data, name), name)
        except Unparsable as error:
            return Unfit(error.reason, error.detail)
        except ImportError as error:
            fix = f"plug-in {kind} needs it" if own else "pip install 'penstock[ingest]'"
            return Trouble(Failed("not_installed", f"{error}: {fix}"))
        except MemoryError:
            raise
        except Misplaced as error:
            return Unfit("plugin_failed" if own else "damaged", f"{kind} made no proper document of {name}: {error}")
        except Exception as error:  # a parser given hostile bytes may raise anything
            return Unfit("damaged", f"{name} cannot be read as {kind}: {_said(error)}")

    def _transformed(self, parsed: Parsed, name: str, bounds: Bounds) -> Parsed | Unfit:
        for each in self._transforms:
            try:
                parsed = bounds.check(each.transform(parsed, name), name)
            except Unparsable as error:
                return Unfit(error.reason, error.detail)
            except MemoryError:
                raise
            except Exception as error:  # without it the text is not what was asked for: none is better
                return Unfit("plugin_failed", f"transform {each.name} failed on {name}: {_said(error)}")
        return parsed


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
