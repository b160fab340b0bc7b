"""Which stage limits a run, in a sentence, with what would help."""

from __future__ import annotations

from penstock.flows.answers.times import duration
from penstock.flows.runs.accounting import Accounting
from penstock.flows.runs.story import Story

NEAR = 0.9
"""Two stages of which one took at least this share of the other's time limit it together."""


def limiting(account: Accounting, story: Story) -> str:
    """One sentence; "" where nothing was prepared, embedded or committed.

    The stages run beside each other and each does one thing at a time, so the one that worked longest is the one that
    the others waited for.
    """
    spent = {stage: account.stage_seconds.get(stage, 0.0) for stage in ("prepare", "embed", "commit")}
    longest = max(spent, key=lambda stage: spent[stage])
    if spent[longest] <= 0:
        return ""
    load = account.stage_seconds.get("load model", 0.0)
    if load > sum(spent.values()):
        return f"Loading the model took {duration(load)}, more than everything else: the run was too small to say more."
    if longest == "commit":
        return (
            f"Committing limits: {duration(spent['commit'])}, longer than the device worked "
            f"({duration(spent['embed'])}): look at how long a replica takes to write (`penstock replica analyze`)."
        )
    if longest == "embed":
        if spent["prepare"] >= NEAR * spent["embed"]:
            return (
                f"The device and the preparation keep up with each other ({duration(spent['embed'])} and "
                f"{duration(spent['prepare'])}): only both together would make it faster."
            )
        return (
            f"The device limits: it worked for {duration(spent['embed'])}, and documents were ready after "
            f"{duration(spent['prepare'])}: a faster device, or one more, would make this run shorter."
        )
    return (
        f"Preparing limits: fetching and parsing took {duration(spent['prepare'])}, and the device worked for only "
        f"{duration(spent['embed'])} of it: {_helps(story)}."
    )


def _helps(story: Story) -> str:
    asked = max(story.waits.items(), key=lambda one: one[1].seconds, default=None)
    if asked is not None and asked[1].seconds > 0:
        return f"{asked[0]} let nobody ask for {duration(asked[1].seconds)} altogether; it sets the pace"
    return "more parsing processes (`parse.workers`), or a larger budget of the source, would make this run shorter"
