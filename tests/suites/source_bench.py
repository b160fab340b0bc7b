"""One source of the contract suite, and the hands that change what lies in it. A connector's tests subclass `Bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from penstock.connectors.connector import Connector
from penstock.connectors.types import Fetched, Source, SourceError
from tests.fakes.tools import Kit

NAMES = (
    "plain",
    "with space",
    "ünïcödé 文書",
    "per%cent%20encoded%2Fslash",
    "quote'double\"back`tick",
    "semi;colon -- comment",
    "../../etc/passwd",
    "..",
    "a/b/c",
    "?query=1&x=2#fragment",
    "${HOME} {0} %s $(id)",
    "<script>alert(1)</script>",
    "new\nline\ttab",
    "back\\slash",
    "x" * 180,
    "Ω̈ e\u0301 \u202eright-to-left",
)


class Bench:
    """The source and its far side. Subclasses fill in what raises `NotImplementedError` and set the attributes.

    An item is called by a short `name` here; `uri(name)` is what it is listed as. `fill` and `put` take plain text;
    `text(data)` takes it out of fetched bytes again (the default: they are the same).

    What a source cannot have is left as it is, and the suite's subclass names those checks in `CANNOT`.
    """

    NAME = "notes"
    """What the source is called."""
    connector: Connector
    options: Mapping[str, Any]
    """The source's own keys, as in the configuration."""
    kit: Kit
    """What the connector is handed. Its clock is moved by sleeping only."""
    secret = ""
    """The credential in play, "" if there is none: it may never be seen."""
    names: Sequence[str] = NAMES
    """Hostile names that this source can hold; one that it cannot hold is left out."""
    max_bytes = 1 << 20
    """`kit.max_bytes`; `put` can make an item larger than that."""

    # ── the near side ────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> Source:
        """The source, as a run opens it. May be called often; all that are open see the same place."""
        options = msgspec.convert(dict(self.options), self.connector.options)
        return self.connector.open(self.NAME, options.anchored(Path("/")), self.kit.tools)

    def uri(self, name: str) -> str:
        """What the item called `name` is listed as; it is there now."""
        return f"{self.NAME}/{name}"

    def text(self, data: bytes) -> str:
        """What `put` was given, out of the bytes that were fetched."""
        return data.decode()

    def fetched(self, source: Source, item: Any) -> tuple[str, Fetched]:
        """Fetch an item: its text, and what else came. A temporary file is deleted again."""
        got = source.fetch(item)
        data = got.path.read_bytes()
        if got.temporary:
            got.path.unlink()
        return self.text(data), got

    # ── the far side ─────────────────────────────────────────────────────────────────────────────────────

    def put(self, name: str, text: str) -> None:
        """Make the item, or change its content. Two changes one after the other are two changes: mind clocks."""
        raise NotImplementedError

    def delete(self, name: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        """Rename or move it: `uri(new)` may be another one, or the same."""
        raise NotImplementedError

    def describe(self, name: str, value: str) -> None:
        """Change the item's metadata and nothing else."""
        raise NotImplementedError

    def label(self, name: str, reader: str) -> None:
        """Change who may read the item and nothing else: `Fetched.labels` then holds `reader`."""
        raise NotImplementedError

    def fill(self, count: int) -> list[str]:
        """Make `count` small items quickly; give their names. Listing hundreds takes more than one request."""
        names = [f"item-{number:05d}" for number in range(count)]
        for name in names:
            self.put(name, f"text of {name}")
        return names

    def requests(self) -> int:
        """How often the source was asked anything so far, as *the source* counts it."""
        raise NotImplementedError

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────

    def cut_listing(self, *, for_ever: bool) -> None:
        """From now on a listing fails after some items: the next time only, or each time."""
        raise NotImplementedError

    def hide(self, name: str) -> None:
        """Make a part of the source that holds `name` impossible to list, and leave the rest as it is."""
        raise NotImplementedError

    def lose(self) -> None:
        """Take the whole place away (folder, table, bucket, wiki), while what surrounds it is still there."""
        raise NotImplementedError

    def refuse(self) -> None:
        """The credentials are not accepted any more."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Nobody can be reached any more, and open connections are lost."""
        raise NotImplementedError

    def mend(self) -> None:
        """Take `cut_listing` and `disconnect` back."""
        raise NotImplementedError

    faults: Mapping[str, tuple[type[SourceError], str]] = {}
    """Faults of one item's fetch by a word for `spoil`: the error they become, and its `reason` ("" for none)."""

    def spoil(self, name: str, fault: str) -> None:
        """Fetching `name` fails by `fault`, one of `faults`, from now on."""
        raise NotImplementedError

    def expire(self, cursor: str) -> None:
        """The changes feed reaches no longer back to `cursor`."""
        raise NotImplementedError


def shapes(secret: str) -> set[str]:
    """The forms in which a secret is still one: as it is, percent-encoded, in base64 at any offset."""
    from base64 import b64encode

    inner = {b64encode(b"\0" * shift + secret.encode()).decode().rstrip("=")[4:-4] for shift in range(3)}
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        repr(secret)[1:-1],
        *(each for each in inner if len(each) > 7),
    }


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception with all that caused it or was being handled when it was raised."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    return found


def raised(act: Callable[[], object]) -> BaseException | None:
    """What `act` raises, None if nothing."""
    try:
        act()
    except Exception as error:
        return error
    return None
