"""Texts put together into requests that the endpoint will take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def packed(positions: Iterable[int], tokens: Sequence[int], *, items: int, most: int) -> Iterator[tuple[int, ...]]:
    """The positions in order, in groups of at most `items` texts and `most` tokens; a text of more goes alone."""
    group: list[int] = []
    weight = 0
    for position in positions:
        if group and (len(group) >= items or weight + tokens[position] > most):
            yield tuple(group)
            group, weight = [], 0
        group.append(position)
        weight += tokens[position]
    if group:
        yield tuple(group)


def halves(tokens: Sequence[int]) -> int:
    """Where to cut texts of so many tokens so that both parts weigh about the same; neither is empty. Two texts or
    more."""
    half, weight, at = sum(tokens) / 2, 0, 0
    while at < len(tokens) - 1 and (at == 0 or weight + tokens[at] <= half):
        weight += tokens[at]
        at += 1
    return at
