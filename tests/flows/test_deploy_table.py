"""What `penstock deploy` prints."""

from __future__ import annotations

from penstock.flows.commands.cmd_deploy import _table
from penstock.flows.deploying.applying import Applied, Outcome


def test_a_long_name_does_not_make_the_table_wide() -> None:
    """The other columns stay on the screen; the name is known by its beginning."""
    names = ["penstock-ingest/ingest-" + "n" * 300, "penstock-ingest/ingest-wiki"]
    lines = _table(Applied("penstock", [Outcome(name, "made", "scheduled", "every 15m") for name in names], [], [], []))
    assert max(map(len, lines)) < 110 and "n…  made" in lines[1] and "ingest-wiki " in lines[2]
