"""A program with a worker, that is killed: prints the process id of the worker, and waits."""

from __future__ import annotations

import sys
import time

from penstock.embed.worker.process import WorkerEncoder
from tests.embed.worker.engines import spec


def main() -> None:
    folder, doing = sys.argv[1:]
    says = {} if doing == "nothing" else {"poison": {7: doing}}
    worker = WorkerEncoder(
        spec(folder, rows=1, **says), engine="tests.embed.worker.engines:load", clock=time.monotonic, note=print
    ).ready()
    batches = worker.encode([(1, 1, 1), (7, 7)])
    next(batches)
    print(worker.provenance["pid"], flush=True)
    if doing == "nothing":
        batches.close()  # type: ignore[attr-defined]
        time.sleep(60)
    next(batches)


if __name__ == "__main__":
    main()
