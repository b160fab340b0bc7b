"""`analyze-store`: what a place that might keep a replica really guarantees."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UNAVAILABLE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.config import place


def analyze_store(arguments: argparse.Namespace, console: Console) -> int:
    """Exit code 1 if a promise is broken, 3 if the store does not answer."""
    from penstock.flows import wiring
    from penstock.index.stores.analyze import analyze

    try:
        where = place.store(arguments.url, Path.cwd())
    except place.BadPlace as wrong:
        raise UsageError(f"URL: {wrong}") from None
    if not place.is_url(where) and not Path(where).is_dir():
        raise UsageError(f"{where}: there is no such folder; make it, or give a URL")
    console.sign(f"trying {where} …")
    found = analyze(wiring.store(where), clock=time.monotonic, token=wiring.token)
    payload = {**msgspec.to_builtins(found), "ok": found.passed}
    console.answer(payload, render.analysis(found))
    if found.passed:
        return COMPLETE
    return UNAVAILABLE if not found.latencies and len(found.probes) == 1 else INCOMPLETE
