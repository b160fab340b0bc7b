"""Files inside files: the members of an archive, the attachments of a message. Each is parsed as its own kind."""

from __future__ import annotations

import importlib

import msgspec

from penstock.connectors.parsers.parsed import Parsed, Unparsable, one_line
from penstock.connectors.parsing.sniff import kind_of

MOST_MEMBERS = 2_000
MOST_BYTES = 512 << 20
_DEPTH = 2
_HOLDERS = ("zip", "eml")
_SHOWN = 240


class Allowance(msgspec.Struct):
    """What may still be read out of one file, however it is nested. It is shared by all that is nested in it."""

    depth: int = _DEPTH
    """Levels of files in files still allowed: 1 for a zip in a zip, 0 for nothing further in."""
    members: int = MOST_MEMBERS
    unpacked: int = MOST_BYTES

    def spend(self, members: int, unpacked: int, name: str) -> None:
        """Raises `Unparsable` (`too_large`) when that is more than is left."""
        self.members -= members
        self.unpacked -= unpacked
        if self.members < 0 or self.unpacked < 0:
            limit = f"{MOST_MEMBERS} files or {MOST_BYTES >> 20} MiB, those nested further in included"
            raise Unparsable("too_large", f"{name} holds more than {limit}: unpack it into the source")


class Rejections:
    """What could not be read out of a file, with reasons, for its metadata."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        self.reasons.append((one_line(name)[-80:], reason))

    def __str__(self) -> str:
        """`a.png (unsupported), b.zip (encrypted) and 10 more`, short enough to be kept whole."""
        shown, length = [], 0
        for name, reason in self.reasons:
            said = f"{name} ({reason})"
            length += len(said) + 2
            if length > _SHOWN:
                break
            shown.append(said)
        more = len(self.reasons) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


def read(data: bytes, name: str, allowance: Allowance) -> Parsed:
    """What lies one level further in. Raises `Unparsable` and nothing else but `MemoryError` and `ImportError`."""
    try:
        kind = kind_of(data, name)
        module = importlib.import_module(f"penstock.connectors.parsers.{kind}")
        if kind not in _HOLDERS:
            parsed: Parsed = module.parse(data, name)
        elif allowance.depth < 1:
            raise Unparsable("unsupported", f"{name} lies too deep in files inside files")
        else:
            allowance.depth -= 1
            try:
                parsed = module.parse_within(data, name, allowance)
            finally:
                allowance.depth += 1
    except (Unparsable, MemoryError, ImportError):
        raise
    except Exception as error:  # a parser given hostile bytes may raise anything
        raise Unparsable("damaged", f"{name} cannot be read: {type(error).__name__}") from error
    if not parsed.text.strip():
        raise Unparsable("empty", f"{name} holds no text")
    return parsed
