"""What the words after `ingest` mean: which source, and whether the whole of it.

A folder is a source of its own, remembered by the index. A path inside a known source is a part of that
source, from which no deletion is inferred. Lone files belong to the source `adhoc`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.flows.answers.exits import UsageError
from penstock.flows.config.names import ADHOC, NAMES, is_name, slug
from penstock.index.types import SourceState


@dataclass(frozen=True, slots=True)
class Target:
    """A source to pull from. `under`: only these absolute paths of it; empty: the whole of it."""

    source: SourceState
    under: tuple[Path, ...] = ()
    full_every: float = 86_400.0
    """Seconds: a source with a changes feed is listed whole at least that often."""
    described: str = ""
    """A digest of what the configuration says of the source now."""

    @property
    def complete(self) -> bool:
        return not self.under and self.source.name != ADHOC


def resolve(
    words: Sequence[str],
    *,
    name: str | None,
    known: Mapping[str, SourceState],
    configured: Mapping[str, SourceState],
) -> list[Target]:
    """The targets of a run, one per source. `known` are the index's sources, `configured` the file's.

    Raises `UsageError` for a word that is neither a source nor a path, and for a configured source that the
    index knows at another place.
    """
    _check_bindings(known, configured)
    configured = {name: _remembered(source, known.get(name)) for name, source in configured.items()}
    sources = {**known, **configured}
    if not words:
        every = configured or {name: source for name, source in known.items() if name != ADHOC}
        if not every:
            raise UsageError("nothing to ingest: name a folder, a file or a source, or configure [sources.NAME]")
        return [Target(source) for source in every.values()]
    targets: dict[str, Target] = {}
    for word in words:
        target = _one(word, name, sources)
        sources.setdefault(target.source.name, target.source)
        before = targets.get(target.source.name)
        targets[target.source.name] = target if before is None else _merged(before, target)
    return list(targets.values())


def _remembered(source: SourceState, known: SourceState | None) -> SourceState:
    """What the file says, with what only the index knows of it."""
    if known is None:
        return source
    kept = {name: getattr(known, name) for name in ("cursor", "held", "listed_at", "described")}
    return msgspec.structs.replace(source, **kept)


def _one(word: str, name: str | None, sources: Mapping[str, SourceState]) -> Target:
    path = Path(word).expanduser()
    named = sources.get(word) if word != ADHOC else None
    if named is not None and (not path.exists() or path.resolve() == Path(named.binding)):
        _check_wish(name, named)
        return Target(named)
    if named is not None:
        raise UsageError(
            f"{word} is a source (at {named.binding}) and also a path here; "
            f"write .{os.sep}{word} for the path, or {named.binding} for the source"
        )
    if not path.exists():
        if ADHOC in sources and word != ADHOC:
            return Target(sources[ADHOC], (path.absolute(),))  # perhaps one of its files that is gone now
        raise nothing_there(path, sources.values())
    path = path.resolve()
    for source in sources.values():
        if source.name != ADHOC and Path(source.binding) == path:
            _check_wish(name, source)
            return Target(source)
    if name is None:
        inside = [source for source in sources.values() if source.name != ADHOC and _contains(source, path)]
        if inside:
            return Target(max(inside, key=lambda source: len(source.binding)), (path,))
    if path.is_file():
        return Target(sources.get(ADHOC) or SourceState(name=ADHOC, type="adhoc", binding="/"), (path,))
    return Target(SourceState(name=_name(path, name, sources), type="files", binding=str(path)))


def nothing_there(path: Path, sources: Iterable[SourceState]) -> UsageError:
    """What to say of a word that is no source and a path at which nothing is."""
    at = Path(os.path.abspath(path))  # noqa: PTH100 - what is gone cannot be resolved
    inside = [source for source in sources if source.name != ADHOC and _contains(source, at)]
    if not inside:
        said = "there is no such file, folder or source; `penstock sources list` names the sources"
        return UsageError(f"{path}: {said}")
    name = max(inside, key=lambda source: len(source.binding)).name
    return UsageError(
        f"{path}: there is no such file or folder in the source {name}; if it was deleted, a run of the whole source "
        f"takes it out of the index: `penstock ingest {name}`"
    )


def _check_wish(wish: str | None, source: SourceState) -> None:
    """A folder keeps the name that the index knows it by: another name would index it twice."""
    if wish is not None and wish != source.name:
        raise UsageError(f"--as {wish}: {source.binding} is the source {source.name} already; leave --as out")


def _name(path: Path, wish: str | None, sources: Mapping[str, SourceState]) -> str:
    if wish is not None:
        if not is_name(wish):
            raise UsageError(f"--as {wish}: {NAMES}")
        other = sources.get(wish)
        if other is not None and Path(other.binding) != path:
            raise UsageError(
                f"--as {wish}: that source is at {other.binding}; if it moved, "
                f"`penstock sources rebind {wish} {path}`, else choose another name"
            )
        return wish
    base = slug(path.name) or "root"
    base = f"{base}-files" if base == ADHOC else base
    number, candidate = 1, base
    while candidate in sources:
        number += 1
        candidate = f"{base}-{number}"
    return candidate


def _contains(source: SourceState, path: Path) -> bool:
    return source.type == "files" and path.is_relative_to(source.binding)


def _merged(one: Target, other: Target) -> Target:
    if (not one.under or not other.under) and one.source.name != ADHOC:
        return Target(one.source)
    return Target(one.source, tuple(dict.fromkeys(one.under + other.under)))


def _check_bindings(known: Mapping[str, SourceState], configured: Mapping[str, SourceState]) -> None:
    for name, source in configured.items():
        before = known.get(name)
        if before is None or before.binding == source.binding:
            continue
        key = ".path" if source.type == "files" else ""
        raise UsageError(
            f"sources.{name}{key} is {source.binding}, but the index knows it at {before.binding}; if it moved: "
            f"`penstock sources rebind {name} {source.binding}`"
        )
