"""Lone files, given by name, as a source."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from penstock.connectors.sources.folder import why
from penstock.connectors.sources.quoting import shown, unquoted
from penstock.connectors.sources.settled import item_of, settle
from penstock.connectors.types import Fetched, Gap, Item, RetryLater


class AdhocSource:
    """Source `adhoc`: the files at `paths`, and no others; a uri is `adhoc/` and the absolute path.

    What it lists is never all there is: infer no deletion from it. A symbolic link is read through, since
    somebody named it.
    """

    name = "adhoc"

    def __init__(
        self, paths: Sequence[Path | str], *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._paths = sorted({os.path.abspath(path) for path in paths}, key=os.fsencode)  # noqa: PTH100 - resolving would rename a link
        self._clock = clock
        self._sleep = sleep

    def list(self) -> Iterator[Item | Gap]:
        """One item for each path; a `Gap` for what is no regular file or looks like another."""
        seen: set[str] = set()
        for path in self._paths:
            uri = self.name + "/" + shown(path).lstrip("/")
            try:
                found = os.stat(path)  # noqa: PTH116 - a plain string, by design
            except OSError as error:
                yield Gap(uri, f"{why(error)}: {shown(path)}")
                continue
            if not stat.S_ISREG(found.st_mode):
                yield Gap(uri, f"not a regular file: {shown(path)}")
            elif uri in seen:
                yield Gap(uri, "another name looks the same as text: rename one")
            else:
                yield item_of(uri, path, found)
            seen.add(uri)

    def fetch(self, item: Item) -> Fetched:
        """The file itself, where it lies. Raises `RetryLater`, `FileNotFoundError`."""
        listed = unquoted(item.locator)
        try:
            path = Path(os.path.realpath(listed, strict=True))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RetryLater(f"{why(error)}: {item.uri}", reason="unreadable") from error
        settle(path, self._clock, self._sleep)
        return Fetched(path=path, name=Path(listed).name)
