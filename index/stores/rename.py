"""Rename without replacing: the one system call that Python does not offer."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def rename_noreplace(source: Path, target: Path) -> bool:
    """Move `source` to `target`, atomically, unless `target` exists (then False). Linux `renameat2(2)`.

    Raises `OSError` with EOPNOTSUPP when the C library or the file system cannot do it.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.EOPNOTSUPP, "neither hard links nor renameat2 work here")
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(errno.EOPNOTSUPP, "the file system has neither hard links nor rename without replace")
    raise OSError(code, os.strerror(code), str(target))
