"""Who goes first where several runs want one device."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from penstock.flows.config.source_settings import SourceSettings
from penstock.flows.runs import slots

URGENT, USUAL = "urgent", "scheduled"
NUMBERS = {URGENT: slots.URGENT, USUAL: slots.SCHEDULED, "backfill": slots.BACKFILL}
"""What each priority is in the line for a device: the lower goes first."""


def resolved(asked: str | None, words: Collection[str], configured: Mapping[str, SourceSettings]) -> str:
    """The priority of a run: as `asked`, else that which all sources that it is about are configured to have.

    `words`: its targets, none for all configured sources. What is not named as the configuration names it, such as a
    path, has the usual one.
    """
    if asked is not None:
        return asked
    said = {configured[word].priority if word in configured else USUAL for word in (words or configured)}
    return said.pop() if len(said) == 1 else USUAL
