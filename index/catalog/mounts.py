"""On what kind of file system a path lies, as the kernel says it: SQLite's locks do not hold on shared ones."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

_SHARED = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
    | {"orangefs", "smb3", "smbfs"}
    | {f"fuse.{kind}" for kind in ("ceph", "davfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "juicefs")}
    | {f"fuse.{kind}" for kind in ("mount-s3", "rclone", "s3fs", "smbnetfs", "sshfs")}
)


def shared_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network or cluster file system that `path` lies on (it need not be there yet), None if on none.

    `mounts` is a file as `/proc/self/mountinfo` (proc(5)); where there is none, nothing is known: None.
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    place, best, kind = path.absolute().resolve(), Path(), ""
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5 or not after:
            continue
        point = Path(_plain(fields[4]))
        # Of mounts on the same point the later one hides the earlier.
        if place.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, after.split(" ")[0]
    return kind if kind in _SHARED else None


def _plain(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
