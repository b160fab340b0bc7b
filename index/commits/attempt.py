"""One attempt to make version v+1 out of the head: what a change is given, and where it puts what it builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from penstock.index.commits.state import StateView
from penstock.index.stores.store import Store
from penstock.index.types import FORMAT, BlobRef, Manifest

Files = dict[str, tuple[BlobRef, Path]]
"""Blobs that are built and sealed in the attempt's folder, by name."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a change is made from. `folder` and `txn` are the same for all attempts of one commit.

    A blob is named by `txn`; what the next manifest needs and the head does not have goes into `files`. A change that
    names blobs of an older version notes it in `reuses`: the next one is decided only while none of them has expired.
    """

    head: Manifest
    parent: str
    epoch: int
    txn: str
    now: float
    folder: Path
    stores: Sequence[Store]
    report: Callable[[str], None]
    files: Files = field(default_factory=dict)
    reuses: set[int] = field(default_factory=set)

    @property
    def states(self) -> StateView:
        """Document state as the head has it."""
        return StateView(self.head.state, self.stores, self.report)

    def next(self, **changes: Any) -> Manifest:
        """The head as the next version, with these fields replaced. Pure."""
        return msgspec.structs.replace(
            self.head,
            format=FORMAT,
            version=self.head.version + 1,
            epoch=self.epoch,
            txn=self.txn,
            parent=self.parent,
            committed_at=max(self.now, self.head.committed_at + 1e-6),
            **changes,
        )
