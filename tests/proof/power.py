#!/usr/bin/env python3
"""Power losses under the real store and writer, with one seed after the other until the time is up.

    python -m tests.proof.power --seconds 120 [--seed N] [--json]

Runs tests/index/test_durability.py; a failure prints what replays it. `disks`: how many states that a power loss may
leave were booted and checked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started, seed, failed = time.monotonic(), options.seed, []
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally"
        tally.touch()
        while (time.monotonic() - started < options.seconds or seed == options.seed) and not failed:
            ran = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-p", "no:cacheprovider",
                 "tests/index/test_durability.py"],
                cwd=ROOT,
                env={**os.environ, "PENSTOCK_POWER_SEED": str(seed), "PENSTOCK_POWER_LOOKS": "5",
                     "PENSTOCK_POWER_TALLY": str(tally), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
            )  # fmt: skip
            if ran.returncode:
                failed.append(ran.stdout[-3000:])
            seed += 10
        disks = sum(map(int, tally.read_text().split()))
    result = {"seed": options.seed, "disks": disks, "wrong": failed, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
