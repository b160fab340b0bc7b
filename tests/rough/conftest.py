"""Whole runs against the rough source: real pipeline, real HTTP, no model and no Prefect.

`PENSTOCK_ROUGH_SEED` replays a failure; the seed stands in every assertion's message.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.flows import model_wiring, prefect_api, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.runs import launch
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.loading import Here
from tests.fakes.encoder import HashEncoder
from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.credentials import CLIENT, Guard
from tests.fakes.rough.serving import Serving
from tests.fakes.rough.world import World
from tests.rough.setting import SECRET, Setting

DAY = 86_400.0


class Rough:
    """A rough source, a home, and runs between the two. `later` is added to the clock of the runs."""

    def __init__(self, folder: Path, server: Serving, setting: Setting) -> None:
        self.folder, self.server, self.setting = folder, server, setting
        self.home = folder / "home"
        self.encoder = HashEncoder()
        self.later = 0.0

    @property
    def source(self) -> RoughSource:
        return self.server.source

    @property
    def world(self) -> World:
        return self.source.world

    def ingest(self, home: Path | None = None, **options: object) -> Accounting:
        config = self.setting.write(self.folder / "penstock.toml", self.server.url)
        request = IngestRequest(home=str(home or self.home), config=str(config), targets=("desk",), **options)  # type: ignore[arg-type]
        return launch.ingest(request, Quiet())

    def clean(self) -> Path:
        """A home that was built in one go from the source as it is now, without any faults."""
        self.source.calm()
        home = self.folder / f"clean-{time.monotonic_ns()}"
        account = self.ingest(home)
        assert account.exit_code() == 0, account
        self.source.calm()
        return home

    def expected(self) -> set[str]:
        """Everything that there is at the source, as uris."""
        found = {f"desk/items/{entry.number}" for entry in self.world.listed()}
        for entry in self.world.listed():
            for position, each in enumerate(self.world.attachments(entry)):
                found.add(f"desk/items/{entry.number}/attachments/{entry.number}-{position}-{each.name}")
        return found


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A test's own, or that of `PENSTOCK_ROUGH_SEED`."""
    said = os.environ.get("PENSTOCK_ROUGH_SEED")
    return int(said) if said else int(getattr(request, "param", random.SystemRandom().randrange(1 << 20)))


@pytest.fixture
def make_rough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rough]]:
    """`make_rough(seed, documents=60, guard="oauth", **setting)`; the source listens until the test ends."""
    servers: list[Serving] = []

    def make(seed: int, documents: int = 60, guard: Guard | None = None, **setting: object) -> Rough:
        kind = guard or Guard()
        server = Serving(RoughSource(World(seed, documents), guard=kind)).up()
        servers.append(server)
        rough = Rough(tmp_path, server, Setting(auth=kind.kind, **setting))  # type: ignore[arg-type]
        monkeypatch.setattr(model_wiring, "encoder", lambda settings: rough.encoder)
        monkeypatch.setattr(model_wiring, "encoders", lambda *_: {"fake": Here(lambda: rough.encoder)})
        monkeypatch.setattr(wiring, "clock", lambda: time.time() + rough.later)
        return rough

    monkeypatch.setattr(prefect_api, "answers", lambda note: False)
    monkeypatch.setenv("PENSTOCK_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setenv(SECRET, CLIENT[1])
    monkeypatch.chdir(tmp_path)
    yield make
    for server in servers:
        server.down()
