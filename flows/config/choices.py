"""What could stand in a place of a configuration: for the hint after a word that cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\.(\w+)|(\[[^\]]*\])")


def at(kind: type, path: str) -> list[str]:
    """The words, or the keys, that are known at `path` as msgspec writes it (`.collections[0].paging.kind`)."""
    nodes = list(_unwrapped(inspect.type_info(kind)))
    words: list[str] = []
    for name, _ in _STEP.findall(path):
        words = [str(node.tag) for node in nodes if name and getattr(node, "tag_field", None) == name]
        nodes = [inner for node in nodes for inner in _below(node, name)]
    for node in nodes:
        if isinstance(node, inspect.LiteralType):
            words += map(str, node.values)
        elif isinstance(node, inspect.StructType):
            words += [field.encode_name for field in node.fields]
    return sorted(set(words))


def _below(node: Any, name: str) -> Iterator[Any]:
    """What stands at the key `name` of a table; with no name, in an element of a list or of a table of tables."""
    if isinstance(node, inspect.StructType):
        for field in node.fields:
            if field.encode_name == name:
                yield from _unwrapped(field.type)
    for inner in ("item_type", "value_type"):
        if not name and (found := getattr(node, inner, None)) is not None:
            yield from _unwrapped(found)


def _unwrapped(node: Any) -> Iterator[Any]:
    if isinstance(node, inspect.Metadata):
        yield from _unwrapped(node.type)
    elif isinstance(node, inspect.UnionType):
        for each in node.types:
            yield from _unwrapped(each)
    else:
        yield node
