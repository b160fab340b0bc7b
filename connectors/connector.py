"""How a kind of source is plugged in: built in, or through the entry point group `penstock.connectors`.

An entry point names a `Connector` (any object with these attributes). Its `version` is part of the pipeline's
fingerprint: what another version of it prepared is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from penstock.connectors.http.types import Budget, Door
from penstock.connectors.types import Source

GROUP = "penstock.connectors"

Secret = Annotated[str, Meta(pattern=r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|block:[a-z0-9-]+)$")]
"""Where a secret is, never the secret: `${VARIABLE}` of the environment, or `block:NAME`, a Prefect Secret block."""


class SourceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a connector's own keys in `[sources.NAME]`. Every key that holds a secret has the type `Secret`.

    Paths arrive as written; `anchored` makes them absolute. What decides what a document is made of (templates) belongs
    into `Item.version` as a digest: where it changes, documents are made again.
    """

    def binding(self) -> str:
        """Where the source is: a path or URL without credentials, what the index remembers and `rebind` changes."""
        raise NotImplementedError

    def anchored(self, folder: Path) -> SourceOptions:
        """The same with paths taken from `folder`. Raises `ValueError`, one line: the key, what is wrong, the fix."""
        return self


class OpenDoor(Protocol):
    """Makes this source's door: its budget, its network rules and its retries are in it already.

    `headers` go with every request to the origins of `origins` (scheme, host and port of these URLs), and to no
    other. `renew` is called when an answer is 401 and gives new headers (an OAuth2 refresh); it may use the door's
    `request` for other URLs. Called once at a time.
    """

    def __call__(
        self,
        *origins: str,
        headers: Callable[[], Mapping[str, str]] | None = None,
        renew: Callable[[], Mapping[str, str]] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> Door: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a connector is handed. Nothing ambient: no clock, sleep, chance or environment of its own."""

    clock: Callable[[], float]
    """Seconds since 1970."""
    sleep: Callable[[float], None]
    """Waits; ends early with an exception when the run is being stopped."""
    secret: Callable[[str], str]
    """What a `Secret` stands for. Raises `StopSource`, naming the variable or block, never its value. What it gave is
    taken out of every message from then on."""
    door: OpenDoor
    scratch: Path
    """A folder for what is fetched; on local disk, there already."""
    token: Callable[[], str]
    """A fresh random id, for names of files."""
    note: Callable[[str], None]
    """Says one line to whoever watches the run."""
    max_bytes: int
    """Items larger than this are rejected as `too_large`, without fetching more than that."""
    exclude: tuple[Path, ...] = ()
    """Local paths that are no documents: the index itself."""
    budget: Budget | None = None
    """The source's budget, for connectors that do not speak HTTP through the door: a permit for each request."""


class Connector(Protocol):
    """One kind of source. `name` is its `type` in the configuration."""

    name: str
    version: str
    """Raise it when what a document is made of changes (its text, its metadata), not when a bug is mended."""
    options: type[SourceOptions]

    def open(self, name: str, options: Any, tools: Tools) -> Source:
        """The source called `name`; `options` is of the type `options`. Asks nobody anything yet."""
        ...
