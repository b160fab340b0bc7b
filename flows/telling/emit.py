"""Events for automations: what happened to a home, or to a source of it, in words that a trigger can match.

The home is the resource, named by the digest of its path, as an id must be made of plain letters; the sources that an
event is about are related resources. Prefect adds the flow run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.events import emit_event

from penstock.flows.sources.redactor import REDACTOR

MOST_SOURCES = 50
"""Related resources of one event; Prefect refuses an event with more than a hundred."""


def home_id(home: str) -> str:
    """The resource that events of a home are about."""
    return f"penstock.home.{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"


def source_id(source: str) -> str:
    """The resource that stands for a source."""
    return f"penstock.source.{source}"


def emit(event: str, home: str, payload: Mapping[str, Any], source: str = "", sources: Sequence[str] = ()) -> None:
    """Hand the event over to Prefect's own thread, without secrets. Never raises, and waits for no server."""
    related = list(dict.fromkeys([*([source] if source else []), *sources]))[:MOST_SOURCES]
    try:
        emit_event(
            event=event,
            resource={"prefect.resource.id": home_id(home), "prefect.resource.name": home},
            related=[
                {
                    "prefect.resource.id": source_id(name),
                    "prefect.resource.role": "source",
                    "prefect.resource.name": name,
                }
                for name in related
            ],
            payload=_cleaned({"home": home, **({"source": source} if source else {}), **payload}),
        )
    except Exception:
        return  # an event that is too large, or a Prefect that is shutting down: nothing of the run depends on it


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return REDACTOR.clean(value)
        case Mapping():
            return {key: _cleaned(each) for key, each in value.items()}
        case list() | tuple():
            return [_cleaned(each) for each in value]
    return value
