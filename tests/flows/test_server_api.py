"""What `penstock up` asks its server for, where the server is busy, away or refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from penstock.flows.deploying.server_api import Api, ApiFault
from tests.fakes.rough.serving import Serving


class Busy:
    """Answers with these statuses, one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.statuses, self.asked = [200], 0
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "PATCH", "POST"])])

    async def answer(self, request: Request) -> JSONResponse:
        status = self.statuses[min(self.asked, len(self.statuses) - 1)]
        self.asked += 1
        return JSONResponse({"is_paused": False}, status_code=status)


@pytest.fixture
def busy() -> Iterator[tuple[Busy, Api]]:
    found = Busy()
    with Serving(found.app) as place:
        yield found, Api(place.url, sleep=lambda _: None)


def test_a_busy_server_is_asked_again(busy: tuple[Busy, Api]) -> None:
    """On SQLite 503 says no more than that another change came in between."""
    server, api = busy
    server.statuses = [503, 503, 200]
    assert api.hands_out("pool") is True
    assert server.asked == 3


def test_one_that_stays_busy_is_given_up_in_time(busy: tuple[Busy, Api]) -> None:
    """With the status that it answers, and not before it was asked more than once."""
    server, api = busy
    server.statuses = [503]
    with pytest.raises(ApiFault, match="answers 503 to PATCH work_pools/pool"):
        api.pause("pool", True)
    assert server.asked == 61


def test_a_refusal_and_a_question_of_health_are_not_repeated(busy: tuple[Busy, Api]) -> None:
    """Asking again changes nothing of the first, and whoever asks for health asks again anyway."""
    server, api = busy
    server.statuses = [500]
    with pytest.raises(ApiFault, match="answers 500"):
        api.hands_out("pool")
    assert server.asked == 1
    server.statuses = [503]
    assert api.healthy() is False
    assert server.asked == 2
