"""The examples of `examples/sources/`, made to speak to a server on loopback, and otherwise as they stand."""

from __future__ import annotations

import re

from tests.proof.real.desk import NAME, ROOT

NETWORK = (
    'network = { allow = ["127.0.0.1/32"], connect_seconds = 3, read_seconds = 20, attempts = 4, retry_seconds = 6 }'
)
BUDGET = "budget = { concurrency = 4, patience = 3 }"


def example(name: str, url: str, ours: str) -> str:
    """Its text for the source `NAME` at `ours`, with a patience that fits a test and no limit of the rate."""
    text = (ROOT / "examples" / "sources" / f"{name}.toml").read_text()
    old = re.search(r"^\[sources\.(\w+)\]", text, re.MULTILINE)
    assert old is not None
    text = re.sub(rf"\bsources\.{old[1]}\b", f"sources.{NAME}", text).replace(url, ours)
    return re.sub(r"^budget = .*$", f"{BUDGET}\n{NETWORK}", text, count=1, flags=re.MULTILINE)
