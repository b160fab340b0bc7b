"""Which command a message of damage in a DR store names."""

from __future__ import annotations

import pytest

from penstock.index.errors import Corrupt
from penstock.index.recovery.remedy import bare, damage_in, elsewhere


@pytest.mark.parametrize(
    "said",
    ["x is damaged; run penstock verify", "x is damaged; run `penstock repair`", "x is damaged, run penstock verify"],
)
def test_the_command_for_replicas_becomes_that_for_the_store(said: str) -> None:
    """Once, at the end, as it can be typed; saying it again changes nothing."""
    there = elsewhere(said, "/a b")
    assert there == "x is damaged; run `penstock snapshot verify --store '/a b'`"
    assert elsewhere(there, "/a b") == there
    assert bare(there) == "x is damaged"


def test_what_names_no_command_stays() -> None:
    """Nobody is sent to look where nothing is damaged."""
    assert elsewhere("x is away", "/a") == "x is away"


def test_what_is_raised_in_a_store_is_damage_there() -> None:
    """Whoever raised it did not know where it read."""
    with pytest.raises(Corrupt, match="snapshot verify --store /a"), damage_in("/a"):
        raise Corrupt("x is damaged; run penstock verify")
