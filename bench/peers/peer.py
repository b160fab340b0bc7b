"""What every peer is run by: its own process reads the chunks, loads the model, warms it up, and is timed.

    PYTHON bench/peers/with_NAME.py CHUNKS.jsonl HOME MODEL_DIRECTORY BATCH

CHUNKS.jsonl has `id`, `uri` and `text` on each line. BATCH 0: the batch size that the peer has by default. The clock
runs from the first chunk that is handed over to the last byte that is saved in HOME; reading CHUNKS.jsonl, imports,
loading the model and the warm-up come before. One JSON object is printed: `seconds`, `vectors`, `batch`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

WARM = ["A gate admits water to the turbine at the pace that it can take, whatever the reservoir does."] * 8

Rows = list[dict[str, str]]
Ingest = Callable[[Rows], int]
"""Takes all chunks, saves the index, and says how many vectors are in it."""


def main(prepare: Callable[[str, Path, int], tuple[Ingest, int]]) -> None:
    """`prepare(model, home, batch)`: load and warm up; return what ingests, and the batch size that it has."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    os.environ |= {"HAYSTACK_TELEMETRY_ENABLED": "False", "TOKENIZERS_PARALLELISM": "true"}
    chunks, home, model, batch = sys.argv[1:]
    rows = [json.loads(line) for line in Path(chunks).read_text().splitlines()]
    Path(home).mkdir(parents=True)
    ingest, used = prepare(model, Path(home), int(batch))
    started = time.perf_counter()
    vectors = ingest(rows)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "vectors": vectors, "batch": used}))
