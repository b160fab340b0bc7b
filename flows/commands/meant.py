"""Which document or chunk a person means by a uri, a path, a chunk's id or the beginning of one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.connectors.sources.globs import Globs
from penstock.connectors.sources.quoting import shown
from penstock.connectors.types import Gap, SourceError
from penstock.flows.answers.exits import UsageError
from penstock.flows.answers.render import plain
from penstock.flows.commands.explain import near
from penstock.flows.config.names import ADHOC
from penstock.index.types import DocState, SourceState

if TYPE_CHECKING:
    from penstock.connectors.connector import SourceOptions
    from penstock.index.reading.reader import Reader

SHORTEST = 8
"""So many digits of a chunk's id are enough."""
_ID = re.compile(rf"([0-9a-f]{{{SHORTEST},32}})(?:…|\.\.\.)?")


@dataclass(frozen=True, slots=True)
class Meant:
    """A document, and the chunk of it that was asked for. `also`: documents that the same word may mean."""

    state: DocState
    chunk: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path lies: in which source, by which path there, and what its uri is or would be."""

    source: str
    within: str
    uri: str


@dataclass(frozen=True, slots=True)
class Folder:
    """What is needed to ask a source of type `files` whether it lists a file now."""

    options: SourceOptions | None
    ours: Sequence[Path]
    clock: Callable[[], float]


def meant(word: str, reader: Reader, sources: Mapping[str, SourceState], folder: Callable[[str], Folder]) -> Meant:
    """What `word` means. `sources`: those of the index and of the configuration.

    Raises `UsageError` where it means nothing, with what may have been meant and why it is not known; or where it
    begins several ids.
    """
    places = places_of(word, sources)
    states = reader.find_states([word, *(place.uri for place in places)])
    known = [uri for uri in dict.fromkeys([word, *(place.uri for place in places)]) if uri in states]
    if known:
        return Meant(states[known[0]], also=tuple(known[1:]))
    if (wanted := _ID.fullmatch(word.lower())) and (found := reader.chunks(wanted[1])):
        if len(found) > 1:
            raise UsageError(f"{word}: begins the ids of several chunks; give more of it")
        row = found[0].row
        return Meant(reader.find_states([row.uri])[row.uri], row.chunk_id)
    raise UsageError(_unknown(word, places, reader, sources, folder))


def places_of(word: str, sources: Mapping[str, SourceState]) -> list[Place]:
    """Where the path `word` lies, the innermost source first, lone files last."""
    # Textual first: a link has the uri of its own name, and a file may be gone.
    path = os.path.abspath(os.path.expanduser(word))  # noqa: PTH100, PTH111
    parent, name = os.path.split(path)
    names = dict.fromkeys([path, os.path.join(os.path.realpath(parent), name), os.path.realpath(path)])  # noqa: PTH118
    folders = [each for each in sources.values() if each.type == "files"]
    found = [
        Place(each.name, within, f"{each.name}/{shown(within)}")
        for each in sorted(folders, key=lambda each: -len(each.binding))
        for one in names
        if Path(one) != Path(each.binding) and Path(one).is_relative_to(each.binding)
        for within in [str(Path(one).relative_to(each.binding))]
    ]
    return [*found, *(Place(ADHOC, one, f"{ADHOC}/{shown(one).lstrip('/')}") for one in names)]


def _unknown(
    word: str,
    places: Sequence[Place],
    reader: Reader,
    sources: Mapping[str, SourceState],
    folder: Callable[[str], Folder],
) -> str:
    if word in sources:
        why = f"{word} is a source; give one of its documents"
    else:
        why = _why(word, [place for place in places if place.source != ADHOC], sources, folder)
    alike = near(_tail(word), _uris(reader))
    return plain(f"{why}; near: {', '.join(alike)}" if alike else why)  # names of documents are in it


def _why(
    word: str, places: Sequence[Place], sources: Mapping[str, SourceState], folder: Callable[[str], Folder]
) -> str:
    """Why the index has nothing of that name, as well as can be told without a run."""
    name, _, rest = word.partition("/")
    if name in sources and rest:
        source = sources[name]
        if source.type == "files":
            return _unlisted(Place(name, rest, word), source, folder(name))
        return f"{word}: never listed by the source {name}, not taken yet, or deleted there"
    if places and (os.path.lexists(Path(word).expanduser()) or Path(word).is_absolute()):
        return _unlisted(places[0], sources[places[0].source], folder(places[0].source))
    if os.path.lexists(Path(word).expanduser()):
        return f"{word}: lies in no source and was never ingested by itself; `penstock ingest` takes it"
    return f"{word}: no document, file or chunk of that name is known"


def _unlisted(place: Place, source: SourceState, folder: Folder) -> str:
    """Whether the source would list the file now. The rest of the source is not looked at."""
    from penstock.connectors.sources.files import FilesOptions, FilesSource

    if (Path(source.binding) / place.within).is_dir():
        return f"{place.uri} is a folder; give a document in it"
    said = folder.options if isinstance(folder.options, FilesOptions) else FilesOptions(path=source.binding)
    files = FilesSource(
        source.name,
        source.binding,
        clock=folder.clock,
        sleep=lambda seconds: None,
        exclude=folder.ours,
        globs=Globs(said.include, said.exclude),
        links=said.links,
        hidden=said.hidden,
    )
    try:
        listed = next(files.list(place.within), None)
    except SourceError as error:
        return f"{place.uri}: never listed: {error}"
    if isinstance(listed, Gap):
        return f"{place.uri}: never listed: {listed.reason}"
    if listed is not None:
        why = "it came after the last listing, or a run ended before its turn"
        return f"{place.uri}: not taken yet: {why}; `penstock ingest {source.name}` takes it"
    return f"{place.uri}: never listed: left out by a pattern of its source, or no regular file"


def _uris(reader: Reader) -> Iterator[str]:
    return (state.uri for state in reader.states())


def _tail(word: str) -> str:
    """A path without what leads to it: uris are relative to their sources."""
    parts = [part for part in word.split("/") if part not in ("", ".", "..", "~")]
    return "/".join(parts[-2:] if word.startswith(("/", ".", "~")) else parts)
