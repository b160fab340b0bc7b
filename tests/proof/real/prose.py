"""Words that sound like a document, by seed."""

from __future__ import annotations

import random

_WORDS = (
    "gate", "valve", "rotor", "bearing", "inlet", "grille", "gauge", "sluice", "spillway", "governor", "flange", "seal",
    "pressure", "flow", "oil",
)  # fmt: skip


def prose(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(_WORDS, k=words))
