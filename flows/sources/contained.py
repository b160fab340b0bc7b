"""A source held to its contract: a fault in a connector's own code costs one document or one listing, never the run.

What a connector raises that is none of ours, and what it gives that is none of what it promised, becomes one of the
errors that a run knows how to live with. A full disk and a lack of memory are this machine's, and stay what they are.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, cast

import msgspec

from penstock.connectors.types import (
    Fetched,
    Gap,
    Gone,
    Incremental,
    Item,
    Mark,
    RetryLater,
    Source,
    SourceError,
    StopSource,
)

Entry = Item | Gone | Gap | Mark
_FIELDS: dict[type, Any] = {
    Item: tuple[str, str, str, int, float | None],
    Gone: tuple[str],
    Gap: tuple[str, str],
    Mark: tuple[str],
}
_Said = tuple[str, str, str, str, dict[str, str], tuple[str, ...], int, bool]
_PASSED = {errno.ENOSPC, errno.EDQUOT}


class Contained:
    """`source`, of which only `SourceError` and `FileNotFoundError` come, and only what `Source` promises."""

    def __init__(self, source: Source, name: str) -> None:
        self.name = name
        self.source = source

    def list(self, *under: PurePath) -> Iterator[Item | Gap | Mark]:
        """`under`: a part of a folder, which no other kind of source knows."""
        source: Any = self.source
        return cast(Iterator[Item | Gap | Mark], self._checked(lambda: source.list(*under)))

    def fetch(self, item: Item) -> Fetched:
        with contained(_of_item, SourceError, FileNotFoundError):
            fetched = self.source.fetch(item)
            try:
                return sound(fetched)
            except BaseException:
                if isinstance(fetched, Fetched) and fetched.temporary:
                    fetched.path.unlink(missing_ok=True)
                raise

    def _checked(self, entries: Callable[[], Iterable[Entry]]) -> Iterator[Entry]:
        with contained(self._of_listing, SourceError):
            for entry in entries():
                yield self._promised(entry)

    def _promised(self, entry: Entry) -> Entry:
        """The entry, whose fields are of the right types; of a document, its uri is this source's.

        Raises `TypeError`, `ValueError`, `msgspec.ValidationError`.
        """
        fields = _FIELDS.get(type(entry))
        if fields is None:
            raise TypeError(f"a listing gave {type(entry).__name__}")
        msgspec.convert(said := msgspec.structs.astuple(entry), fields)
        msgspec.json.encode(said)  # what UTF-8 cannot carry, the index cannot either
        if isinstance(entry, Item | Gone) and not entry.uri.startswith(f"{self.name}/"):
            raise ValueError(f"the uri {entry.uri!a} does not begin with {self.name}/")
        if isinstance(entry, Item) and not entry.version:
            raise ValueError(f"{entry.uri} has no version")
        return entry

    def _of_listing(self, said: str) -> SourceError:
        return StopSource(f"the connector of {self.name} failed at its listing ({said}): tell whoever made it")


class ContainedFeed(Contained):
    """One that also says what changed."""

    def changes(self, cursor: str) -> Iterator[Item | Gone | Gap | Mark]:
        source: Any = self.source
        return self._checked(lambda: source.changes(cursor))


def held_to_contract(source: Source, name: str) -> Source:
    """The same source, contained; it has a feed if the source has one."""
    return (ContainedFeed if isinstance(source, Incremental) else Contained)(source, name)


@contextmanager
def contained(otherwise: Callable[[str], SourceError], *ours: type[Exception]) -> Iterator[None]:
    """What is raised inside and none of `ours` becomes what `otherwise` makes of its message."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (*ours, MemoryError)) or (isinstance(error, OSError) and error.errno in _PASSED):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise otherwise(said.encode("utf-8", "replace").decode()[:500]) from error


def sound(fetched: Fetched) -> Fetched:
    """What was fetched, if it is of the types that it should be; what UTF-8 cannot carry is replaced.

    Raises `TypeError`, `msgspec.ValidationError`.
    """
    if not isinstance(fetched, Fetched) or not isinstance(fetched.path, Path):
        raise TypeError(f"fetch gave {type(fetched).__name__}, no file")
    said = (
        fetched.name,
        fetched.version,
        fetched.title,
        fetched.url,
        fetched.metadata,
        fetched.labels,
        fetched.retries,
        fetched.temporary,
    )
    msgspec.convert(said, _Said)
    try:
        msgspec.json.encode(said[1:])  # a file's name may be of bytes that are no text
    except UnicodeEncodeError:
        return msgspec.structs.replace(
            fetched,
            version=_text(fetched.version),
            title=_text(fetched.title),
            url=_text(fetched.url),
            metadata={_text(key): _text(value) for key, value in fetched.metadata.items()},
            labels=tuple(map(_text, fetched.labels)),
        )
    return fetched


def _text(said: str) -> str:
    return said.encode("utf-8", "replace").decode()


def _of_item(said: str) -> SourceError:
    return RetryLater(f"the connector failed on it ({said}): tell whoever made it", reason="connector_failed")
