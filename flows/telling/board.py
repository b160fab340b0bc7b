"""The flow run's own place in Prefect: its progress, its plot, its tags. Each call asks the server, and may raise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run

from penstock.flows.telling.tags import tags

PROGRESS, THROUGHPUT = "penstock-progress", "penstock-throughput"


class Board(Protocol):
    """Where a run is shown. Calls may block, and raise what they like."""

    def progress(self, share: float, line: str) -> None: ...

    def plot(self, image: str) -> None: ...

    def tag(self, sources: Iterable[str], priority: str) -> None: ...


class FlowRun:
    """The flow run that this is made in. Called from one thread, any one."""

    def __init__(self) -> None:
        found = flow_run.get_id()
        self._run = UUID(str(found)) if found else None
        self._tags: list[str] | None = None
        self._made: dict[str, UUID] = {}

    def progress(self, share: float, line: str) -> None:
        """A progress artifact. `share`: 0 to 1; `line` stands above it."""
        self._put(PROGRESS, "progress", round(100 * share, 1), line)

    def plot(self, image: str) -> None:
        """An image artifact; `image` is its address."""
        self._put(THROUGHPUT, "image", image, "Tokens a second over the run, by stage")

    def tag(self, sources: Iterable[str], priority: str) -> None:
        """Set what the run is found by; what its deployment says beside that stays."""
        if self._run is None:
            return
        with get_client(sync_client=True) as client:
            if self._tags is None:
                self._tags = list(client.read_flow_run(self._run).tags)
            wanted = tags(sources, priority, self._tags)
            if wanted != sorted(self._tags):
                client.update_flow_run(self._run, tags=wanted)
                self._tags = wanted

    def _put(self, key: str, kind: str, data: object, description: str) -> None:
        if self._run is None:
            return
        with get_client(sync_client=True) as client:
            if key in self._made:
                client.update_artifact(self._made[key], ArtifactUpdate(data=data, description=description))
                return
            made = client.create_artifact(
                ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=self._run)
            )
            self._made[key] = made.id
