"""Names of sources: they begin every uri, and are typed by people."""

from __future__ import annotations

import re

ADHOC = "adhoc"
"""The source of lone files."""

NAMES = f"a source's name is letters, digits, '.', '_' and '-', and not '{ADHOC}'"


def slug(text: str) -> str:
    """`text` as a source's name: what is not a letter, digit, '.', '_' or '-' becomes '-'."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.")


def is_name(text: str) -> bool:
    return bool(text) and text == slug(text) and text != ADHOC
