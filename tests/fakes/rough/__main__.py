"""The rough source as a process: `python -m tests.fakes.rough --seed 7 --port 8099 --documents 2000 --rate 0.3`.

Prints `ready URL` on stdout. `GET /_ledger` tells what it saw, `POST /_control` changes it (app.py).
"""

from __future__ import annotations

import argparse
import asyncio

import uvicorn

from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.credentials import Guard
from tests.fakes.rough.faults import HOSTILE, KINDS, LANDS, LIES, SLOW, Faults, spread
from tests.fakes.rough.serving import config, listening
from tests.fakes.rough.world import World

PROFILES = {"lands": LANDS, "slow": [*LANDS, *SLOW], "lies": [*LANDS, *LIES], "all": [*LANDS, *SLOW, *LIES, *HOSTILE]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.rough", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--attached", type=int, default=7, help="every so manieth document has a file; 0: none")
    parser.add_argument("--rate", type=float, default=0.0, help="share of requests that go wrong")
    parser.add_argument("--profile", default="lands", help=f"{', '.join(PROFILES)}, or kinds: {' '.join(KINDS)}")
    parser.add_argument("--at-most", type=int, default=3, help="faults for one target; 0: without end")
    parser.add_argument("--guard", choices=("none", "basic", "key", "oauth"), default="none")
    parser.add_argument("--uses", type=int, help="requests for which a token is good")
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    kinds = PROFILES.get(options.profile) or options.profile.replace(",", " ").split()
    source = RoughSource(
        World(options.seed, options.documents, options.attached),
        Faults(options.seed, spread(options.rate, kinds), options.at_most or None),
        guard=Guard(options.guard, options.uses),
        latency=options.latency,
    )
    raw = listening(options.port)
    print(f"ready http://127.0.0.1:{raw.getsockname()[1]}", flush=True)
    asyncio.run(uvicorn.Server(config(source)).serve([raw]))


if __name__ == "__main__":
    main()
