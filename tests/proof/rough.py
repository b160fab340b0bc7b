#!/usr/bin/env python3
"""The rough source, hard: thirty kills, then seeds by chance until the time is up, then the benches.

    python -m tests.proof.rough --seconds 240 [--seed N]

Each seed is three whole histories of tests/rough/test_property.py. Prints one JSON object; exits 1 if any promise was
broken, and names the seeds to replay (`PENSTOCK_ROUGH_SEED=N pytest tests/rough`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KILLS = "tests/rough/test_kills.py::test_killed_thirty_times_it_ends_where_a_clean_build_does"


def passed(*words: str, seed: int) -> tuple[bool, str]:
    """Whether these tests pass with this seed, and what they said if not."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", *words],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PENSTOCK_ROUGH_SEED": str(seed)},
    )  # fmt: skip
    return ran.returncode == 0, "" if ran.returncode == 0 else ran.stdout[-3000:]


def bench(*words: str) -> dict[str, Any]:
    """What a bench printed as JSON."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench.rough", *words, "--json"], cwd=ROOT, capture_output=True, text=True
    )
    try:
        said: dict[str, Any] = json.loads(ran.stdout[ran.stdout.index("{") :])
    except ValueError:
        return {"failed": (ran.stdout + ran.stderr)[-1000:]}
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true", help="is always so")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 20)
    end = time.monotonic() + options.seconds
    failed: list[dict[str, Any]] = []
    killed, said = passed(KILLS, seed=first)
    if not killed:
        failed.append({"seed": first, "test": "kills", "said": said})
    seeds = 0
    while time.monotonic() < end:
        good, said = passed("tests/rough/test_property.py", "-k", "lands_when or next_run_fills", seed=first + seeds)
        if not good:
            failed.append({"seed": first + seeds, "test": "property", "said": said})
        seeds += 1
    result = {
        "kills": 30 if killed else 0,
        "first_seed": first,
        "seeds": seeds,
        "failed": failed,
        "faults": bench("faults", "--documents", "2000"),
        "unchanged": bench("unchanged"),
    }
    print(json.dumps(result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
