"""The flows of deployments as they are; beside them each batch leaves a line in the file `BENCH_BATCHES`.

`bench/urgent.py` and `orchestration.py` deploy them as `batches:backfill` and `batches:ingest`, to see how fast a run
is from second to second. A line: seconds since 1970 at which the batch was embedded, its tokens.
"""

from __future__ import annotations

import os
import time

from penstock.flows.ingest import ingest as ingest
from penstock.flows.requests import backfill as backfill
from penstock.flows.telling.figures import Figures

_counted = Figures.advanced


def _advanced(figures: Figures, documents: int, tokens: int, reused: int = 0) -> None:
    if tokens:
        with open(os.environ["BENCH_BATCHES"], "a") as lines:
            lines.write(f"{time.time():.3f} {tokens}\n")
    _counted(figures, documents, tokens, reused)


Figures.advanced = _advanced  # type: ignore[method-assign]
