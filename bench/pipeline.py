"""One `penstock ingest` into a fresh home, in a process of its own, as `bench/ingest` and `bench/peers/run` time it.

    python bench/pipeline.py '{"home": ..., "targets": [...], "config": ..., "encoder": "real" | "hashing"}'

The process imports everything before the clock starts, and prints one JSON object. `hashing` puts a function of the
token ids in the place of the model: to look at everything but the model, with more text than it could embed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODEL_TOKENS_PER_SECOND = 12_000
"""What the model would do on two cores: `hashing` gets shards of the size that it would get."""


def run(
    home: Path,
    targets: Sequence[Path],
    *,
    embed: dict[str, object],
    encoder: str = "real",
    environment: dict[str, str] | None = None,
    memory_period: float = 1.0,
) -> dict[str, Any]:
    """Ingest `targets`; `embed` is what `[embed]` of the configuration says. Raises ValueError if the run failed.

    `account`: the run's own. `wall`: its seconds; `seconds`: those without `load model`, and never less than any other
    stage took. `peak_bytes`: of the process and its children together, the model included;
    `anonymous_bytes`: without mapped files; `peak_of`: by process name.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    config = home.with_suffix(".toml")
    config.write_text("[embed]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in embed.items()))
    ask = {"home": str(home), "targets": [str(target) for target in targets], "config": str(config), "encoder": encoder}
    command = [sys.executable, __file__, json.dumps(ask)]
    slots = {"PENSTOCK_SLOTS": str(home.with_suffix(".slots"))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=os.environ | slots | (environment or {}), **pipes) as child:
        assert child.stdin and child.stdout
        with machine.Memory(child.pid, memory_period) as memory:
            said = child.stdout.read()
        child.stdin.close()  # it waits for this, so that its memory can be looked at once more
    if child.returncode:
        raise ValueError(f"the pipeline ended with {child.returncode}; what it said is above")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    found |= {"peak_bytes": memory.peak, "anonymous_bytes": memory.peak_anonymous, "peak_of": memory.largest}
    stages = found["account"]["stage_seconds"]
    found["seconds"] = max([found["wall"] - stages.pop("load model", 0.0), *stages.values()])
    return found


class Hashing:
    """An `Encoder` that makes a vector of the hash of the ids: no model, no time to speak of."""

    def __init__(self, dim: int, identity: dict[str, str]) -> None:
        self.dim, self.identity = dim, identity
        self.provenance = {"device": "cpu", "dtype": "float32", "path": "hashing: no model"}

    def encode(self, ids: Sequence[Any], texts: Sequence[str] | None = None) -> Iterator[Any]:
        from penstock.embed.types import Encoded

        for first in range(0, len(ids), 256):
            some = ids[first : first + 256]
            vectors = np.stack([self._vector(each) for each in some])
            tokens = sum(map(len, some))
            yield Encoded(np.arange(first, first + len(some), dtype=np.int64), vectors, tokens, tokens)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._vector([*text.encode()]) for text in texts])

    def ready(self) -> Hashing:
        return self

    def close(self) -> None:
        pass

    def _vector(self, ids: Sequence[int]) -> np.ndarray:
        """Unit norm, float32 (dim,)."""
        bits = hashlib.shake_128(np.asarray(ids, dtype="<u4").tobytes()).digest(self.dim)
        values = np.frombuffer(bits, dtype=np.uint8).astype(np.float32) - 127.5
        return values / np.linalg.norm(values)


def main() -> None:
    import msgspec

    from penstock.embed import models
    from penstock.flows import model_wiring, prefect_api, wiring
    from penstock.flows.answers.progress import Quiet
    from penstock.flows.config.settings import load
    from penstock.flows.runs.accounting import IngestRequest
    from penstock.flows.runs.launch import ingest
    from penstock.flows.runs.prepare import ShardLimits

    ask = json.loads(sys.argv[1])
    prefect_api.answers = lambda note: False
    hashing: Hashing | None = None
    if ask["encoder"] == "hashing":
        settings = load(Path(ask["config"]))
        hashing = Hashing(models.resolve(settings.embed.model).dim, model_wiring.model_identity(settings))
        model_wiring.encoders = lambda settings, home, note: {"cpu": hashing}
        # A minute of device work is a shard: of this device it would be eight million tokens, of a model here far less.
        wiring.ShardLimits = partial(ShardLimits, tokens=60 * MODEL_TOKENS_PER_SECOND)
    request = IngestRequest(home=ask["home"], config=ask["config"], targets=tuple(ask["targets"]))
    started = time.perf_counter()
    account = ingest(request, Quiet())
    wall = time.perf_counter() - started
    if hashing is not None and "torch" in sys.modules:
        raise RuntimeError(
            "a model was loaded although none was to run: bench/pipeline.py no longer fits flows/wiring.py"
        )
    print(json.dumps({"wall": wall, "account": msgspec.to_builtins(account)}), flush=True)
    os.close(sys.stdout.fileno())  # that was all
    sys.stdin.read()


if __name__ == "__main__":
    main()
