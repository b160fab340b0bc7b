"""The body of an answer: as it was meant, checked, and never larger than allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.connectors.http.asking import Ask
from penstock.connectors.http.decompression import unpacked
from penstock.connectors.http.digests import checked, of_the_content, of_the_whole
from penstock.connectors.http.wire import Answer
from penstock.connectors.types import RejectItem


def content(ask: Ask, answer: Answer, *, max_bytes: int, max_ratio: int, already: int = 0) -> Iterator[bytes]:
    """The body in pieces, unpacked: at most `max_bytes` with those that there are `already`.

    Raises `Fault`, and `RejectItem` (`too_large`), before anything is read if the length is announced.
    """
    if ask.method == "HEAD" or answer.status in (204, 304):
        return  # what their heads say is about another answer
    headers = answer.headers
    if not encoded(answer) and already + (announced(answer) or 0) > max_bytes:
        raise too_large(ask, max_bytes)
    digests = of_the_content(headers)
    if answer.status == 200:
        digests |= of_the_whole(headers)
    raw = checked(answer.pieces, digests)
    plain = unpacked(raw, headers.get("content-encoding", ""), max_ratio=max_ratio)
    yield from bounded(ask, plain, max_bytes, already)


def bounded(ask: Ask, pieces: Iterable[bytes], max_bytes: int, came: int) -> Iterator[bytes]:
    """The same pieces. Raises `RejectItem` once they are more than `max_bytes`, with the `came` bytes before them."""
    for piece in pieces:
        came += len(piece)
        if came > max_bytes:
            raise too_large(ask, max_bytes)
        yield piece


def encoded(answer: Answer) -> bool:
    """Whether the body is not sent as it is."""
    return answer.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def announced(answer: Answer) -> int | None:
    """Content-Length. None where the answer does not say."""
    length = answer.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) <= 20 else None


def too_large(ask: Ask, max_bytes: int) -> RejectItem:
    return RejectItem(f"{ask.shown} is larger than {max_bytes} bytes", reason="too_large")
