"""`penstock.toml`: typed, complete, and refused with the key and the fix where it is wrong.

Paths in the file are relative to the file's own folder. Nothing below `flows/wiring.py` sees these
objects: what is further down is handed the few values that it needs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from penstock.flows.keys import SettingsError, typed
from penstock.flows.names import NAMES, is_name

DEFAULT_MODEL = "all-MiniLM-L6-v2"
SOURCE_TYPES = ("files",)
DEFAULT_HOME = ".penstock"
DEFAULT_FILE = "penstock.toml"

AtLeastOne = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]

__all__ = ["Settings", "SettingsError", "load"]


class IndexSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`replicas`: how many in the home, or their folders, or id -> folder. `write_quorum` None: most."""

    replicas: int | list[str] | dict[str, str] = 2
    write_quorum: int | None = None
    catalog: str | None = None


class EmbedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`chunk_tokens` None: what the model takes. `device` None: the best there is."""

    model: str = DEFAULT_MODEL
    chunk_tokens: AtLeastOne | None = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None
    device: str | None = None


class ParseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for one file: seconds, memory of the parsing process, size. `workers` None: one per core."""

    workers: AtLeastOne | None = None
    seconds: Seconds = 60.0
    memory_mb: AtLeastOne = 2048
    max_mb: AtLeastOne = 256


class DeletionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """More than `min_count` and more than `min_share` of a source gone at once is withheld."""

    min_count: Annotated[int, Meta(ge=0)] = 20
    min_share: Share = 0.2


class SourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[sources.NAME]`. `path` is absolute once loaded."""

    path: str
    type: str = "files"
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. `home` is absolute once loaded; `said` holds the dotted keys that somebody wrote down."""

    home: str = DEFAULT_HOME
    index: IndexSettings = IndexSettings()
    embed: EmbedSettings = EmbedSettings()
    parse: ParseSettings = ParseSettings()
    deletions: DeletionSettings = DeletionSettings()
    sources: dict[str, SourceSettings] = msgspec.field(default_factory=dict)
    said: frozenset[str] = frozenset()

    def replica_paths(self, home: Path) -> dict[str, Path]:
        """Where each replica is, by its id. A number means folders of the home, which move with it."""
        match self.index.replicas:
            case int(count):
                return {str(n): home / "replicas" / str(n) for n in range(count)}
            case list(paths):
                return {str(n): Path(path) for n, path in enumerate(paths)}
            case paths:
                return {name: Path(path) for name, path in paths.items()}

    def write_quorum(self) -> int:
        """How many replicas must have a commit before it is acknowledged; a majority unless set."""
        return self.index.write_quorum or _count(self.index) // 2 + 1

    def catalog_url(self, home: Path) -> str:
        """The catalog as an SQLAlchemy URL; a plain path is an SQLite file."""
        catalog = self.index.catalog
        if catalog is not None and "://" in catalog:
            return catalog
        return f"sqlite:///{catalog or home / 'catalog.db'}"


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of `path` (None: the defaults), with `overrides` by dotted key (`embed.model`) on top.

    Raises `SettingsError`, one line: the file, the key, the fix.
    """
    where = str(path) if path else "settings"
    raw = _read(path) if path else {}
    for key, value in (overrides or {}).items():
        _put(raw, key, value)
    said = frozenset(_dotted(raw))
    settings = _build(raw, where)
    _check_quorum(settings.index, where)
    _check_chunks(settings.embed, where)
    _check_sources(settings.sources, where)
    folder = path.absolute().parent if path else Path.cwd()
    return msgspec.structs.replace(_anchored(settings, folder), said=said)


def _read(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; write one, or leave --config out") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8; save it as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        end = f"line {len(text.splitlines())}, at the end"
        said = str(error).replace("at end of document", end)
        raise SettingsError(f"{path}: is not valid TOML: {said}") from None


def _build(raw: dict[str, Any], where: str) -> Settings:
    """Section by section, so that an error names `sources.wiki.path` and not `$.sources[...].path`."""
    sections: dict[str, type[Any]] = {
        "index": IndexSettings,
        "embed": EmbedSettings,
        "parse": ParseSettings,
        "deletions": DeletionSettings,
    }
    top = {key: value for key, value in raw.items() if key not in sections and key != "sources"}
    built: dict[str, Any] = {"home": typed(top, _Top, where, "").home}
    for name, kind in sections.items():
        if name in raw:
            built[name] = typed(raw[name], kind, where, name)
    sources = typed(raw.get("sources", {}), dict[str, Any], where, "sources")
    built["sources"] = {name: typed(value, SourceSettings, where, f"sources.{name}") for name, value in sources.items()}
    return Settings(**built)


class _Top(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top of the file, where only `home` is not a table."""

    home: str = DEFAULT_HOME
    index: dict[str, Any] = {}
    embed: dict[str, Any] = {}
    parse: dict[str, Any] = {}
    deletions: dict[str, Any] = {}
    sources: dict[str, Any] = {}


def _count(index: IndexSettings) -> int:
    return index.replicas if isinstance(index.replicas, int) else len(index.replicas)


def _check_quorum(index: IndexSettings, where: str) -> None:
    count = _count(index)
    if count < 1:
        raise SettingsError(f"{where}: index.replicas is {count}; at least 1 is needed, 2 is the default")
    places = [] if isinstance(index.replicas, int) else list(_values(index.replicas))
    if len({str(Path(place)) for place in places}) < len(places):
        raise SettingsError(f"{where}: index.replicas names one folder twice; give each replica its own")
    quorum = index.write_quorum
    if quorum is None:
        return
    if not 1 <= quorum <= count:
        raise SettingsError(f"{where}: index.write_quorum is {quorum}; choose from 1 to {count} replicas")
    if 2 * quorum <= count:
        raise SettingsError(
            f"{where}: index.write_quorum = {quorum} of {count} replicas would let two halves accept "
            f"different commits; set it to {count // 2 + 1} or more"
        )


def _values(replicas: list[str] | dict[str, str]) -> list[str]:
    return list(replicas.values()) if isinstance(replicas, dict) else replicas


def _check_chunks(embed: EmbedSettings, where: str) -> None:
    if embed.chunk_tokens and embed.overlap_tokens and 2 * embed.overlap_tokens > embed.chunk_tokens:
        raise SettingsError(
            f"{where}: embed.overlap_tokens = {embed.overlap_tokens} is more than half of "
            f"embed.chunk_tokens = {embed.chunk_tokens}; set it to {embed.chunk_tokens // 2} or less"
        )


def _check_sources(sources: Mapping[str, SourceSettings], where: str) -> None:
    """Names become the beginning of every uri; a source that would silently be something else is refused."""
    paths: dict[Path, str] = {}
    for name, source in sources.items():
        if not is_name(name):
            raise SettingsError(f"{where}: [sources.{name}]: {NAMES}")
        if source.type not in SOURCE_TYPES:
            raise SettingsError(
                f"{where}: sources.{name}.type = {source.type!r}: known here: {', '.join(SOURCE_TYPES)}"
            )
        other = paths.setdefault(Path(source.path), name)
        if other != name:
            raise SettingsError(f"{where}: sources.{name}.path is that of sources.{other}; keep one of the two")


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Make every path absolute, taken from `folder`; what is already absolute stays as it is."""

    def at(path: str) -> str:
        return str(folder / Path(path).expanduser())

    index = settings.index
    match index.replicas:
        case list(paths):
            index = msgspec.structs.replace(index, replicas=[at(path) for path in paths])
        case dict(named):
            index = msgspec.structs.replace(index, replicas={key: at(path) for key, path in named.items()})
    if index.catalog and "://" not in index.catalog:
        index = msgspec.structs.replace(index, catalog=at(index.catalog))
    sources = {name: msgspec.structs.replace(source, path=at(source.path)) for name, source in settings.sources.items()}
    return msgspec.structs.replace(settings, home=at(settings.home), index=index, sources=sources)


def _put(raw: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[last] = value


def _dotted(raw: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in raw.items():
        keys += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys
