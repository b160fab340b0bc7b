"""A copy of a blob is taken from whichever store has it whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.index.blobs import blob
from penstock.index.blobs.copying import good_copy
from penstock.index.errors import Unavailable
from tests.index.blobs.test_scrub import stored


def test_a_local_file_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad place of a disk under one copy costs that copy; where all have one, it is a fault of the index."""
    ref, stores, files = stored(tmp_path, 2)
    check, bad, said = blob.check, {files[0]}, list[str]()

    def failing(path: Path, ref: object) -> None:
        if path in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        check(path, ref)  # type: ignore[arg-type]

    monkeypatch.setattr(blob, "check", failing)
    with good_copy(ref, stores, tmp_path / "scratch", said.append) as path:
        assert path == files[1] and "Input/output error" in said[0]
    bad.add(files[1])
    with pytest.raises(Unavailable, match="Input/output error"), good_copy(ref, stores, tmp_path, said.append):
        pass
