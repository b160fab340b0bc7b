#!/usr/bin/env python3
"""Cut each guard out of the index and see that a test fails: a guard that no test misses is not proven to be there.

    python -m tests.proof.mutations [--json] [NAME…]

Each mutant runs the tests that it names in a process of its own. Survivors, and mutants whose text is not in the code
any more, are listed; then the exit is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.proof.mutant import STALE
from tests.proof.mutants import ALL, BY_NAME, Mutant

ROOT = Path(__file__).resolve().parents[2]
CAUGHT, SURVIVED, GONE, BROKEN = "caught", "survived", "stale", "broken"


def outcome(mutant: Mutant, seconds: float = 300.0) -> dict[str, Any]:
    """How the mutant fared, and the test that noticed it."""
    started = time.monotonic()
    tests = [test for test in mutant.tests if (ROOT / test.split("::")[0]).exists()]
    if not tests:
        return {"name": mutant.name, "kind": mutant.kind, "guard": mutant.guard, "fate": BROKEN, "by": "no such test",
                "seconds": 0.0}  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    try:
        ran = subprocess.run(
            [*command, "-p", "tests.proof.mutant", *tests],
            cwd=ROOT,
            env={**os.environ, "PENSTOCK_MUTANT": mutant.name, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        failed = re.search(r"^FAILED (.+?)(?: - .*)?$", ran.stdout, re.MULTILINE)
        fate = {0: SURVIVED, 1: CAUGHT, STALE: GONE}.get(ran.returncode, BROKEN)
        by = failed.group(1) if failed else ""
        if fate == CAUGHT and not failed:
            fate = BROKEN
        said = (ran.stdout + ran.stderr)[-400:] if fate in (BROKEN, GONE) else ""
    except subprocess.TimeoutExpired:
        fate, by, said = CAUGHT, "it hangs", ""
    return {
        "name": mutant.name,
        "kind": mutant.kind,
        "guard": mutant.guard,
        "fate": fate,
        "by": by,
        "seconds": round(time.monotonic() - started, 1),
        **({"said": said} if said else {}),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="these only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    chosen = [BY_NAME[name] for name in options.names] or list(ALL)
    results = []
    with ThreadPoolExecutor(options.at_once) as pool:
        for result in pool.map(outcome, chosen):
            results.append(result)
            if not options.json:
                said = result.get("said", "")
                print(f"{result['fate']:9}{result['name']:22}{result['seconds']:6} s  {result['by']}{said}", flush=True)
    left = [result["name"] for result in results if result["fate"] != CAUGHT]
    if options.json:
        print(json.dumps({"mutants": len(results), "caught": len(results) - len(left), "left": left, "each": results}))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
