"""`python -m tests.sim --seed N` replays one schedule; `--schedules N --seconds S --json` runs many and counts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

STEPS = 3000


def main() -> int:
    """Exit status 1 if any promise was broken."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of the schedule.
        os.environ["PYTHONHASHSEED"], os.environ["OMP_NUM_THREADS"] = "0", "1"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    if options.schedules == 1:
        outcome = one(options.seed, options.steps, options.profile, options.verbose)
        _tell(outcome)
        print(outcome["digest"], outcome["steps"], "steps", outcome["acked"], "acknowledged", outcome["faults"])
        return 1 if outcome["violations"] else 0
    return many(options)


def one(seed: int, steps: int, profile: str | None, verbose: bool = False) -> dict[str, object]:
    """One schedule, in memory as far as the machine allows."""
    from tests.sim.world import PROFILES, run

    shm = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="sim", dir=shm if shm.is_dir() else None))
    chosen = profile or PROFILES[(0, 0, 1, 2)[seed % 4]]
    outcome = run(place / "home", seed, steps, chosen, verbose=verbose)
    place.rmdir()
    return vars(outcome)


def many(options: argparse.Namespace) -> int:
    """Schedules from `--seed` on, until there were enough or time is up."""
    began, totals, faults, failed = time.monotonic(), Counter[str](), Counter[str](), []
    seeds = iter(range(options.seed, options.seed + options.schedules))
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {pool.submit(one, seed, options.steps, options.profile) for seed in islice(seeds, options.jobs)}
        while running:
            for ended in as_completed(running):
                running.discard(ended)
                outcome = ended.result()
                totals.update(schedules=1, steps=outcome["steps"], acked=outcome["acked"], lost=outcome["lost"])
                faults.update(outcome["faults"])
                if outcome["violations"]:
                    failed.append(outcome)
                    _tell(outcome)
                if time.monotonic() - began < options.seconds and (seed := next(seeds, None)) is not None:
                    running.add(pool.submit(one, seed, options.steps, options.profile))
                break
    said = {
        **{name: totals[name] for name in ("schedules", "steps", "acked", "lost")},
        "crashes": faults["crash"],
        "violations": sum(len(outcome["violations"]) for outcome in failed),
        "failed_seeds": [f"{outcome['profile']} {outcome['seed']}" for outcome in failed],
        "faults": dict(sorted(faults.items())),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(said) if options.json else "\n".join(f"{name}: {value}" for name, value in said.items()))
    return 1 if failed else 0


def _tell(outcome: dict[str, object]) -> None:
    for violation in outcome["violations"]:  # type: ignore[attr-defined]
        replay = f"python -m tests.sim --seed {outcome['seed']} --profile {outcome['profile']} -v"
        print(f"BROKEN: {violation}\n  replay: {replay}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first schedule")
    parser.add_argument("--steps", type=int, default=STEPS, help="switch points of a schedule, before all is mended")
    parser.add_argument(
        "--profile",
        choices=("budget", "calm", "beyond", "shipped"),
        help="by default each seed has its own",
    )
    parser.add_argument("--schedules", type=int, default=1, help="how many seeds, at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no schedule after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", action="store_true", help="counts as one line of JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every step")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
