"""`embed.remote`'s Post over the door that sources have: errors in the words of encoders, without any secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from penstock.connectors.types import RejectItem, RetryLater, StopSource
from penstock.embed.remote.types import GaveUp, Response, Unsound
from penstock.embed.types import EncoderUnavailable
from penstock.flows.runs.stop import Halted
from penstock.flows.sources.redactor import REDACTOR

if TYPE_CHECKING:
    from penstock.connectors.http.posting import Poster
    from penstock.connectors.http.types import Reply

T = TypeVar("T")

BY_ITEMS = ("server_error", "garbled", "truncated", "timed_out")
"""Ways to fail that may be because of what is in a request."""


class Posting:
    """As `embed.remote.types.Post`."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    def __call__(self, body: bytes, tokens: int, judge: Callable[[Response], tuple[T, int]]) -> T:
        def take(reply: Reply) -> tuple[T, int]:
            data = reply.body if reply.status < 300 else _clean(reply.body)
            try:
                return judge(Response(reply.status, reply.headers, data))
            except Unsound as error:
                raise RetryLater(str(error), reason="garbled") from None

        try:
            return self._poster.post(body, tokens, take)
        except RetryLater as error:
            raise GaveUp(str(error), after=error.after or None, by_items=error.reason in BY_ITEMS) from None
        except RejectItem as error:
            raise GaveUp(str(error), by_items=True) from None
        except StopSource as error:
            raise EncoderUnavailable(str(error), error.after) from None
        except FileNotFoundError as error:
            raise EncoderUnavailable(str(error)) from None
        except Halted:
            raise EncoderUnavailable("stopped on request") from None


def _clean(body: bytes) -> bytes:
    return REDACTOR.clean(body[: 1 << 16].decode("utf-8", "replace")).encode()
