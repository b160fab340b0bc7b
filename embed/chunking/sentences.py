"""Where sentences end, in scripts that end them with a mark. Linear in the text, whatever stands in it."""

from __future__ import annotations

import re

# A run of stops, and what closes a quotation or a bracket. It always matches where it starts: nothing is tried twice.
_STOPS = re.compile(r"[.!?…。！？｡．؟۔।॥]++[\"'”’»)\]」』）】》]*+")
_WIDE = frozenset("。！？｡．؟۔।॥")  # no space needed after these
_OPENING = "([{\"'“‘«"
_LOOK_BACK = 14  # characters: the longest abbreviation, and what may open it
_WORDS = (
    "mr mrs ms dr prof st sr jr vs cf al fig figs eq eqs ref refs sec ch vol vols pp ed eds inc ltd corp dept "
    "approx resp viz ca gen col lt sgt capt rev hon messrs mme mlle jan feb mar apr jun jul aug sep sept oct nov "
    "dec nr abb abs bzw evtl ggf vgl usw str tab ex env av bd op"
)
_ABBREVIATIONS = frozenset(_WORDS.split())
_BEFORE_A_NUMBER = frozenset(("no", "nos", "nr", "p", "art", "ch", "sect", "par", "para", "n°"))
_PARTS = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")  # e.g, i.e, U.S, a.m, z.B


def sentence_ends(text: str) -> list[int]:
    """Positions, ascending, right after the stop of a sentence and what closes it.

    A stop of Latin script needs a space behind it; so decimals, versions and addresses go on. One after an
    abbreviation, an initial, or a number that begins its line ("1.") ends no sentence.
    """
    ends = []
    for match in _STOPS.finditer(text):
        end = match.end()
        wide = not _WIDE.isdisjoint(match.group())
        if wide or (text[end : end + 1].isspace() and not (match.group() == "." and _abbreviates(text, end - 1))):
            ends.append(end)
    return ends


def _abbreviates(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` belongs to the word before it."""
    before = text[max(0, stop - _LOOK_BACK) : stop]
    if not before or before[-1].isspace():
        return False
    word = before.split()[-1].lstrip(_OPENING)
    if len(word) == 1 and word.isalpha():
        return word.isupper() and word != "I"
    if word.isdecimal():
        return _begins_line(text, stop - len(word))
    lower = word.lower()
    if lower in _ABBREVIATIONS or _PARTS.fullmatch(word) is not None:
        return True
    return lower in _BEFORE_A_NUMBER and text[stop + 1 : stop + 3].lstrip()[:1].isdecimal()


def _begins_line(text: str, at: int) -> bool:
    """Whether only a little space stands before `at` on its line."""
    before = text[max(0, at - _LOOK_BACK) : at].rpartition("\n")
    return not before[2].strip() and (bool(before[1]) or at <= _LOOK_BACK)
