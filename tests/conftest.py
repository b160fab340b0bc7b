"""What holds for all tests: a slow machine is no failure of a property, and nobody waits for a test elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it leaves in the background so, and every process that a test starts would inherit it: a
    # Ctrl-C in a test would be heard by nobody.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def slots_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Slots of devices are the host's: tests at the same time would wait for each other, and for a person's run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PENSTOCK_SLOTS", str(tmp_path_factory.mktemp("slots")))
        yield
