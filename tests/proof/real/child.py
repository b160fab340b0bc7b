"""The command line as a process of its own, without a model: `python -m tests.proof.real.child LATER WORD…`.

`LATER`: seconds by which its clock is ahead, so that what is tried again later need not be waited for.
"""

from __future__ import annotations

import sys
import time
from functools import partial

from penstock.flows import cli, model_wiring, prefect_api, wiring
from penstock.flows.runs.loading import Here
from tests.fakes.encoder import HashEncoder


def main(later: float, words: list[str]) -> int:
    model_wiring.encoder = lambda settings: HashEncoder(rows=64)
    model_wiring.encoders = lambda *_: {"fake": Here(lambda: HashEncoder(rows=64))}
    wiring.clock = lambda: time.time() + later
    wiring.ShardLimits = partial(wiring.ShardLimits, first_tokens=3000, growth=1)  # type: ignore[misc]
    prefect_api.answers = lambda note: False
    sys.argv = ["penstock", *words]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
