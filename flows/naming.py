"""What a run of upkeep is called in Prefect: `watch kb/.penstock`. Runs that ingest are named by what they ingest."""

from __future__ import annotations

from contextlib import suppress

from prefect.runtime import flow_run

from penstock.flows import wiring
from penstock.flows.telling import tags


def by_home() -> str:
    """By what it does, and the index that it does it to; by its configuration where that cannot be read."""
    given = flow_run.parameters
    where = given.get("home") or given.get("config") or ""
    with suppress(Exception):  # what is wrong with the settings, the run itself will say
        where = wiring.home_of(given.get("home"), given.get("config"))
    return tags.upkeep(str(flow_run.flow_name), str(where))
