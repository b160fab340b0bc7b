"""The parameters of flows as types: what a form offers and refuses, before a run begins.

Prefect makes the form from the signature and takes the words beside a field from the flow's docstring (`Args:`).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from penstock.connectors.reasons import FAILURES, REJECTIONS

AtLeastOne: TypeAlias = Annotated[int, Field(ge=1)]
AtLeastNone: TypeAlias = Annotated[int, Field(ge=0)]
Minutes: TypeAlias = Annotated[float, Field(gt=0)]
Rate: TypeAlias = Annotated[float, Field(gt=0)]
Days: TypeAlias = Annotated[float, Field(ge=0)]
Period: TypeAlias = Annotated[str, Field(pattern=r"^\d+(\.\d+)?[mhdw]$")]
"""A span of time as the command line takes it: `35d`, `12h`, `2w`."""
Moment: TypeAlias = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?[mhdw]|\d{4}-\d{2}-\d{2}([T ].*)?)$")]
"""A time as the command line takes it: `7d`, `2026-11-21`, `2026-11-21T08:00Z`."""
Reason: TypeAlias = Annotated[str, Field(json_schema_extra={"enum": sorted({**FAILURES, **REJECTIONS})})]
"""Why a document is not in the index: a word of `connectors/reasons.py`."""
Paths: TypeAlias = Annotated[list[str], Field(min_length=1)]
