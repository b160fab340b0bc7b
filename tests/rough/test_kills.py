"""Real processes die by SIGKILL in the middle of a rough ingest; the last run ends where a clean build does."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.fakes.rough.credentials import CLIENT, Guard
from tests.fakes.rough.faults import LANDS, LIES, Faults, spread
from tests.flows.children import ended, running, sound
from tests.flows.ingest_child import Child
from tests.rough.conftest import Rough
from tests.rough.judging import same, within_budget
from tests.rough.setting import SECRET

MakeRough = Callable[..., Rough]
SHARD_TOKENS, FEWEST_TOKENS = 600, 40
LOST = SHARD_TOKENS // FEWEST_TOKENS + 16
"""Documents that one kill may cost: those of the shard that was being filled, and those worked on ahead of it."""


def killed_again_and_again(make_rough: MakeRough, seed: int, kills: int, documents: int) -> None:
    rough = make_rough(seed, documents, Guard("oauth", uses=40), rate=80.0, read_seconds=1.0)
    clean = rough.clean()
    rough.source.latency = 0.01
    rough.source.faults = Faults(seed, spread(0.2, [*LANDS, *LIES]) | {"throttled": 0.005, "throttled_date": 0.0})
    config = rough.setting.write(rough.folder / "penstock.toml", rough.server.url)
    child = Child(str(rough.home), ["desk"], config=str(config), shard_tokens=SHARD_TOKENS, batch_seconds=0.02)
    whole = documents / rough.setting.rate + 2.0 if rough.setting.rate else 3.0
    dice, killed, moments = random.Random(seed), 0, []
    for number in range(kills):
        # Early on there is most to lose; each kill leaves less to do for the next run.
        moments.append(round(dice.uniform(0.0, whole * 0.8 * (1 - number / (2 * kills))), 3))
        killed += _killed_after(moments[-1], rough, child)
    with running(child, rough.folder / "slots", {SECRET: CLIENT[1]}) as process:
        code, account, err = ended(process)
    why = f"PENSTOCK_ROUGH_SEED={seed}, {killed} killed after {moments} s"
    assert (code, account["listed"]) == (0, len(rough.expected())), (why, account, err)
    fetched = rough.server.ledger.deliveries()
    assert killed, "no kill came while a run was under way"
    assert max(fetched.values()) <= 1 + killed, (why, fetched.most_common(3))
    assert fetched.total() - len(fetched) <= killed * LOST, (why, fetched.total() - len(fetched))
    within_budget(rough.server.ledger, rough.setting, why)
    same(rough.home, clean, why)
    sound(rough.home)


def _killed_after(seconds: float, rough: Rough, child: Child) -> bool:
    """Whether it was still running, `seconds` after its first request or a little later."""
    asked = len(rough.server.ledger.seen)
    with running(child, rough.folder / "slots", {SECRET: CLIENT[1]}) as process:
        deadline = time.monotonic() + 60
        while len(rough.server.ledger.seen) == asked and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("seed", [21], indirect=True)
def test_killed_three_times_it_ends_where_a_clean_build_does(make_rough: MakeRough, seed: int) -> None:
    """Same rows, scores and states; no body was fetched that neither the first time nor a kill explains."""
    killed_again_and_again(make_rough, seed, kills=3, documents=40)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_thirty_times_it_ends_where_a_clean_build_does(make_rough: MakeRough, seed: int) -> None:
    """As above, at thirty moments of a larger ingest, by chance."""
    killed_again_and_again(make_rough, seed, kills=30, documents=600)
