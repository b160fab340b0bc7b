"""The sign of life of our flow runs, as often as the automation that looks for it expects it."""

from __future__ import annotations

from prefect.settings import get_current_settings

SECONDS = 30
"""The shortest that Prefect takes. `prefect.zombie_seconds` is at least three times that."""


def quicken() -> None:
    """Have the flow runs of this process give it every 30 s. Each module with flows calls it when it is imported.

    Prefect's own pace, 180 s, would have a live run taken for dead. It could be set in the environment too, but then
    each way to start a run would have to. Whoever turned heartbeats off has none: such runs are never taken for dead.
    """
    flows = get_current_settings().flows
    if flows.heartbeat_frequency is not None:
        flows.heartbeat_frequency = SECONDS
