"""Which paths are wanted, in patterns like those of a .gitignore file.

`*` and `?` stand for characters of one name, `[a-z]` and `[!a-z]` for one of them, `**` for any number of folders,
and a backslash takes the meaning from what follows. A pattern without a slash before its end is looked for at any
depth (`*.pdf` is `**/*.pdf`); with one, it begins at the root. One that ends in a slash names folders only. What
names a folder names everything below it. Upper and lower case are different.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NEVER = re.compile(r"(?!)")


class Globs:
    """`include`: nothing else is wanted, unless it is empty. `exclude` wins over it. Raises `ValueError`, one line."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include_file, _ = _compiled("include", include)
        self._exclude_file, self._exclude_folder = _compiled("exclude", exclude)
        self._all = not include

    def wants_file(self, path: str) -> bool:
        """`path` is relative to the root, without a slash before it."""
        if self._exclude_file.fullmatch(path):
            return False
        return self._all or self._include_file.fullmatch(path) is not None

    def enters(self, folder: str) -> bool:
        """Whether anything below `folder` can be wanted: false only where all of it is excluded."""
        return self._exclude_folder.fullmatch(folder) is None


def _compiled(key: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What matches a file's path, and what matches a folder's."""
    files, folders = [], []
    for pattern in patterns:
        try:
            expression = _expression(pattern.removesuffix("/"))
        except ValueError as error:
            raise ValueError(f"{key} {pattern!r}: {error}") from None
        files.append(expression + ("/.*" if pattern.endswith("/") else "(?:/.*)?"))
        folders.append(expression + "(?:/.*)?")
    return tuple(re.compile("|".join(each), re.DOTALL) if each else _NEVER for each in (files, folders))  # type: ignore[return-value]


def _expression(pattern: str) -> str:
    if pattern.startswith("!"):
        raise ValueError("a pattern has no ! before it; write what is wanted in include, what is not in exclude")
    anchored = "/" in pattern
    parts = pattern.removeprefix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("empty names, . and .. match nothing; write the path from the root, with single slashes")
    if not anchored and parts != ["**"]:
        parts.insert(0, "**")
    found, start = [], 0
    for end in [number for number, part in enumerate(parts) if part == "**"]:
        found.append(_folders(parts[start:end]))
        start = end
    found.append(_last(parts[start:]))
    return "".join(found)


def _folders(parts: list[str]) -> str:
    """Folders with others following, from `**` on where it is not the first piece of the pattern.

    Where such a piece fits first is as good a place for it as any, so that no other one is ever tried: else a path
    that somebody made for it would take a time without end.
    """
    if parts[:1] != ["**"]:
        return "".join(_name(part) + "/" for part in parts)
    return f"(?>(?:[^/]+/)*?{''.join(_name(part) + '/' for part in parts[1:])})" if parts[1:] else ""


def _last(parts: list[str]) -> str:
    if parts == ["**"]:
        return ".+"
    anywhere = "(?:[^/]+/)*" if parts[0] == "**" else ""
    return anywhere + "/".join(_name(part) for part in (parts[1:] if anywhere else parts))


def _name(part: str) -> str:
    """The expression for one name. What stands between two stars is taken where it fits first, as folders are."""
    found, at = [""], 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            found.append("")
            at += len(part[at:]) - len(part[at:].lstrip("*"))
        elif character == "?":
            found[-1] += "[^/]"
        elif character == "[":
            end = part.find("]", at + 2 if part[at : at + 1] in ("!", "^") else at + 1)
            if end < 0:
                raise ValueError("[ has no ] after it; write \\[ for a bracket in a name")
            found[-1] += _one_of(part[at:end])
            at = end + 1
        elif character == "\\":
            if at == len(part):
                raise ValueError("a backslash at the end takes the meaning from nothing; write \\\\ for one in a name")
            found[-1] += re.escape(part[at])
            at += 1
        else:
            found[-1] += re.escape(character)
    if len(found) == 1:
        return found[0]
    return found[0] + "".join(f"(?>[^/]*?{piece})" for piece in found[1:-1]) + "[^/]*" + found[-1]


def _one_of(inner: str) -> str:
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)
    expression = f"(?!/)[{'^' if negated else ''}{escaped}]"
    try:
        re.compile(expression)
    except re.error:
        raise ValueError(f"[{inner}] is no range of characters; write [a-z], the lower one first") from None
    return expression
