"""The contract of sources, for folders."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.sources import files, settled
from penstock.connectors.types import RetryLater
from tests.fakes.tools import Kit
from tests.suites.source_bench import NAMES, Bench
from tests.suites.source_suite import SourceSuite


class FilesBench(Bench):
    """A folder. What is counted as a request is a folder that is read."""

    connector = files.CONNECTOR
    names = tuple(name for name in NAMES if ".." not in name)
    faults = {"permission": (RetryLater, "unreadable"), "disk": (RetryLater, "unreadable")}

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.options = {"path": str(self.root)}
        self.kit = Kit(folder / "scratch", max_bytes=self.max_bytes)
        self._stamp = 1_600_000_000_123_456_789
        self._asked = 0
        self._scandir: Callable[[Any], Any] = os.scandir
        self._open = os.open
        self._hidden: Path | None = None
        self._cuts = self._until_cut = 0
        self._spoilt: dict[str, int] = {}
        patch.setattr(files.os, "scandir", self._read_folder)
        patch.setattr(settled.os, "open", self._open_file)

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._stamp += 1_000_000
        os.utime(path, ns=(self._stamp, self._stamp))

    def delete(self, name: str) -> None:
        (self.root / name).unlink()

    def rename(self, old: str, new: str) -> None:
        (self.root / old).rename(self.root / new)

    def fill(self, count: int) -> list[str]:
        names = [f"folder-{number // 10:04d}/item-{number:05d}" for number in range(count)]
        for name in names:
            self.put(name, f"text of {name}")
        return names

    def requests(self) -> int:
        return self._asked

    def cut_listing(self, *, for_ever: bool) -> None:
        self._cuts, self._until_cut = (1_000_000 if for_ever else 1), 2

    def hide(self, name: str) -> None:
        self._hidden = (self.root / name).parent

    def lose(self) -> None:
        shutil.rmtree(self.root)

    def disconnect(self) -> None:
        self.root.rename(self.root.with_name("unmounted"))

    def mend(self) -> None:
        self._cuts = 0
        if not self.root.exists():
            self.root.with_name("unmounted").rename(self.root)

    def spoil(self, name: str, fault: str) -> None:
        self._spoilt[str(self.root / name)] = {"permission": errno.EACCES, "disk": errno.EIO}[fault]

    def _read_folder(self, path: Any) -> Any:
        self._asked += 1
        self._until_cut -= 1
        if self._cuts > 0 and self._until_cut < 0:
            self._cuts -= 1
            raise OSError(errno.EIO, "Input/output error")
        if self._hidden is not None and Path(path) == self._hidden:
            raise PermissionError(errno.EACCES, "Permission denied")
        return self._scandir(path)

    def _open_file(self, path: Any, *arguments: Any, **options: Any) -> int:
        if str(path) in self._spoilt:
            number = self._spoilt[str(path)]
            raise OSError(number, os.strerror(number))
        return self._open(path, *arguments, **options)


class TestFiles(SourceSuite):
    CANNOT = {
        "test_a_version_changes_with_the_metadata": "a file has no metadata",
        "test_a_version_changes_with_who_may_read_it": "modes and ACLs are not taken as labels",
        "test_refused_credentials_stop_the_source": "there are none",
        "test_an_item_that_is_too_large_is_rejected": "nothing is fetched; the parser looks at the size",
        "test_every_request_has_its_permit": "a local disk has no budget",
        "test_a_spent_budget_stops_the_source": "a local disk has no budget",
        "test_the_secret_is_never_seen": "there is none",
    }

    @pytest.fixture
    def bench(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilesBench:
        return FilesBench(tmp_path, monkeypatch)
