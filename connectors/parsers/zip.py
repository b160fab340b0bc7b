"""ZIP archives: each member that can be read becomes a section under its path. Nothing is ever written to disk."""

from __future__ import annotations

import io
import stat
import zipfile
from collections import Counter

from penstock.connectors.parsers.archive import BROKEN, is_bomb
from penstock.connectors.parsers.nested import Allowance, Rejections, read
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described
from penstock.connectors.parsers.sections import Sections

_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


def parse(data: bytes, name: str) -> Parsed:
    """Members in the archive's order, each parsed as what it is, zip in zip in zip at most; pages are dropped.

    A member's path is only a label. One that cannot be read costs itself alone: `metadata["members_rejected"]`
    names it with its reason, and empty ones are counted. Raises `Unparsable`: `too_large` for more than 2,000
    members or 512 MiB unpacked (nested ones included), `empty`, `damaged`, and when no member can be read the
    commonest of their reasons.
    """
    return parse_within(data, name, Allowance())


def parse_within(data: bytes, name: str, allowance: Allowance) -> Parsed:
    """As `parse`, with what the file around it has left."""
    out, rejected, read_ones, empty = Sections(), Rejections(), 0, 0
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except BROKEN as error:
        raise Unparsable("damaged", f"{name} is an archive that cannot be opened: {error}") from error
    with archive:
        members = [member for member in archive.infolist() if not _is_litter(member)]
        allowance.spend(len(members), sum(each.file_size for each in members if not is_bomb(each)), name)
        for member in members:
            path = _path(member)
            try:
                parsed = read(_unpacked(archive, member), path, allowance)
            except Unparsable as error:
                if error.reason == "empty":  # counted: there are dozens in any archive of programs
                    empty += 1
                else:
                    rejected.add(path, error.reason)
                continue
            read_ones += 1
            out.leave(1)
            out.heading(1, path)
            out.adopt(parsed)
    if not read_ones:
        raise _nothing(name, rejected)
    counts = described(
        members=len(members), members_read=read_ones, members_empty=empty or None, members_rejected=str(rejected)
    )
    return Parsed(text=(whole := out.parsed()).text, headings=whole.headings, metadata=counts)


def _is_litter(member: zipfile.ZipInfo) -> bool:
    """A folder, or what macOS adds. A torn archive may have a member without a name: `is_dir` does not stand that."""
    return member.filename.endswith(("/", *_LITTER[1:])) or member.filename.startswith(_LITTER[0])


def _path(member: zipfile.ZipInfo) -> str:
    """The member's name; without a flag for UTF-8 zipfile takes code page 437, where most programs write UTF-8."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Raises `Unparsable`."""
    if member.flag_bits & 1:
        raise Unparsable("encrypted", "a password is needed")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise Unparsable("unsupported", "it is a link")
    if is_bomb(member):
        raise Unparsable("too_large", "it packs like an archive bomb")
    try:
        return archive.read(member)
    except BROKEN as error:
        raise Unparsable("damaged", f"it cannot be unpacked: {type(error).__name__}") from error


def _nothing(name: str, rejected: Rejections) -> Unparsable:
    if not rejected.reasons:
        return Unparsable("empty", f"the archive {name} holds no files, or only empty ones")
    reason = Counter(reason for _, reason in rejected.reasons).most_common(1)[0][0]
    return Unparsable(reason, f"no file in the archive {name} can be read: {rejected}")
