"""Who we are is said to the source, and to nobody and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.credentials import API_KEY, CLIENT, MARK, USER, Guard
from tests.fakes.rough.faults import HOSTILE, LANDS, Faults, spread
from tests.fakes.rough.serving import Serving
from tests.fakes.rough.world import World
from tests.rough.conftest import Rough
from tests.rough.setting import SECRET

MakeRough = Callable[..., Rough]
SECRETS = {"oauth": CLIENT[1], "basic": USER[1], "key": API_KEY}


@pytest.mark.parametrize("kind", ["key", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("oauth", "basic"))])
def test_a_redirect_to_another_origin_takes_no_credentials_along(
    make_rough: MakeRough, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed or refused: the other server is never told who we are."""
    monkeypatch.setenv(SECRET, SECRETS[kind])
    rough = make_rough(31, documents=20, guard=Guard(kind), attempts=2, retry_seconds=3.0)
    with Serving(RoughSource(World(31, 20))) as other:
        rough.source.elsewhere = other.url
        rough.source.faults = Faults(31, {"redirect_elsewhere": 0.5}, at_most=None, only=("/api/items", "/files"))
        account = rough.ingest()
        assert rough.source.ledger.faults()["redirect_elsewhere"]
        assert not any(seen.credentials for seen in other.ledger.seen)
    assert account.indexed and account.exit_code() in (0, 1), account
    assert all(seen.credentials for seen in rough.server.ledger.seen if seen.target != "/oauth/token")


def test_no_secret_reaches_the_account_the_index_or_the_home(
    make_rough: MakeRough, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tokens and the client's secret are in no file of the home, no message and no output."""
    rough = make_rough(5, documents=14, guard=Guard("oauth", uses=30), attempts=2, patience=3.0, read_seconds=0.5)
    faults = Faults(5, spread(0.4, [*LANDS, *HOSTILE]), at_most=None)
    rough.source.faults = replace(faults, only=("/api/items", "/files"))
    account = rough.ingest()
    assert account.failed and MARK not in str(account) and MARK not in "".join(capfd.readouterr())
    for path in rough.home.rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes(), path
