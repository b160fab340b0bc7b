"""The grammar of templates: from text to nodes. What they mean is said in `template`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.connectors.sources.rest.fields import Key, Step, steps

FILTERS = ("raw", "date", "line", "lines", "base64")
_TAG = re.compile(r"\{\{|\}\}|\{([^{}\n]{1,300})\}|[{}]")
_FOR = re.compile(r"for\s+([A-Za-z_]\w*)\s+in\s+(\S.*)\Z")
_IF = re.compile(r"if\s+(not\s+)?(\S.*)\Z")
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Value:
    path: tuple[Step, ...]
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    name: str
    path: tuple[Step, ...]
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class When:
    path: tuple[Step, ...]
    negated: bool
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Value | Loop | When


@functools.lru_cache(maxsize=256)
def compiled(template: str) -> tuple[Node, ...]:
    """`template`, taken apart. Raises `ValueError`, one line that shows the tag."""
    tags = iter(_tags(template))
    nodes, stopped = _block(tags, 0)
    if stopped:
        raise ValueError(f"{{{stopped}}} closes nothing: remove it, or open it with {{for x in y}} or {{if y}}")
    return nodes


def names(template: str) -> set[str]:
    """The first names of all paths: what the template reads."""
    found: set[str] = set()
    pending = list(compiled(template))
    while pending:
        node = pending.pop()
        if not isinstance(node, Text) and node.path and isinstance(node.path[0], Key):
            found.add(node.path[0].name)
        if isinstance(node, (Loop, When)):
            pending.extend(node.body)
        if isinstance(node, When):
            pending.extend(node.otherwise)
    return found


def _tags(template: str) -> Iterator[Text | str]:
    """Text and the insides of tags, in order; a tag of ours that is alone on its line has swallowed the line."""
    at = 0
    for match in _TAG.finditer(template):
        if match.start() < at:
            continue  # it stood in a line that was swallowed
        inside = match[1]
        if inside is None and len(match[0]) == 1:
            raise ValueError(f'a lone "{match[0]}": write {match[0] * 2} for the character itself')
        start, end = match.span()
        if inside is not None and _is_block(inside.strip()):
            start, end = _alone(template, start, end)
        if start > at:
            yield Text(template[at:start])
        yield inside.strip() if inside is not None else Text(match[0][0])
        at = end
    if at < len(template):
        yield Text(template[at:])


def _is_block(tag: str) -> bool:
    return tag in ("end", "else") or bool(_FOR.match(tag) or _IF.match(tag))


def _alone(template: str, start: int, end: int) -> tuple[int, int]:
    line = template.rfind("\n", 0, start) + 1
    rest = template.find("\n", end)
    rest = len(template) if rest < 0 else rest + 1
    blank = not template[line:start].strip() and not template[end:rest].strip()
    return (line, rest) if blank else (start, end)


def _block(tags: Iterator[Text | str], depth: int) -> tuple[tuple[Node, ...], str]:
    """Nodes up to `end` or `else` (which is returned) or the end of the template ("")."""
    if depth > _DEEPEST:
        raise ValueError(f"loops and conditions are nested more than {_DEEPEST} deep")
    nodes: list[Node] = []
    for tag in tags:
        if isinstance(tag, Text):
            nodes.append(tag)
        elif tag in ("end", "else"):
            return tuple(nodes), tag
        elif loop := _FOR.match(tag):
            body = _closed(_block(tags, depth + 1), tag)
            nodes.append(Loop(loop[1], steps(loop[2].strip()), body))
        elif when := _IF.match(tag):
            body, stopped = _block(tags, depth + 1)
            otherwise = _closed(_block(tags, depth + 1), tag) if stopped == "else" else ()
            if not stopped:
                raise ValueError(f"{{{tag}}} has no {{end}}")
            nodes.append(When(steps(when[2].strip()), bool(when[1]), body, otherwise))
        else:
            nodes.append(_value(tag))
    return tuple(nodes), ""


def _closed(block: tuple[tuple[Node, ...], str], tag: str) -> tuple[Node, ...]:
    if block[1] != "end":
        raise ValueError(f"{{{tag}}} has no {{end}}")
    return block[0]


def _value(tag: str) -> Value:
    path, *filters = (part.strip() for part in tag.split("|"))
    for name in filters:
        if name not in FILTERS:
            raise ValueError(f"{{{tag}}}: there is no filter {name}; there are {', '.join(FILTERS)}")
    if not path:
        raise ValueError(f"{{{tag}}} names nothing: write {{subject}}")
    return Value(steps(path), tuple(filters))
