"""`penstock ingest` as a process of its own, without a model: made to be killed, stopped and run beside others.

The one argument is JSON, the fields of `Child`. Everything but the model and the moments of death is real. Prints
`ready` on stderr once everything heavy is imported; the account is JSON on stdout, as `--json` has it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from penstock.embed.types import Encoded, EncoderSpec
from penstock.embed.worker.process import WorkerEncoder
from penstock.flows import cli, model_wiring, wiring
from penstock.flows.config.settings import load
from penstock.flows.plans import listing
from penstock.flows.runs import embedding
from penstock.flows.runs.loading import Here
from penstock.flows.spools import spool
from penstock.index.commits.commit import Writer
from tests.fakes.encoder import HashEncoder

FLOW_POINTS = ("shard.closed", "vectors.appended", "shard.committed", "shard.unmarked")
"""Points of ours between those of the commit: around what the spool holds."""


class Child(msgspec.Struct):
    """What the process does. `die_at`, reached `times` times: SIGKILL by its own hand."""

    home: str
    targets: list[str]
    config: str = ""
    die_at: str = ""
    times: int = 1
    batch_seconds: float = 0.0
    load_seconds: float = 0.0
    list_seconds: float = 0.0
    embedded: str = ""
    """A file that gets one line for each vector made."""
    shard_tokens: int = 600
    flush_seconds: float = 0.05
    worker: str = ""
    """A folder: embed in a process of its own, as in life, which writes down there who it is."""


class Logged(HashEncoder):
    """Writes down what it embeds, before anybody else has it."""

    def __init__(self, child: Child) -> None:
        super().__init__(seconds=child.batch_seconds)
        self._log = os.open(child.embedded, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if child.embedded else -1

    def encode(self, ids: Sequence[Sequence[int]], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        for batch in super().encode(ids, texts):
            if self._log >= 0 and batch.tokens:
                names = (xxhash.xxh3_64_hexdigest(repr(list(ids[position]))) for position in batch.positions)
                os.write(self._log, "".join(f"{name}\n" for name in names).encode())
            yield batch


def main(argument: str) -> int:
    child = msgspec.json.decode(argument, type=Child)
    disguise(child)
    print("ready", file=sys.stderr, flush=True)
    config = ["--config", child.config] if child.config else []
    sys.argv = ["penstock", "ingest", *child.targets, "--home", child.home, *config, "--json"]
    return cli.main()


def disguise(child: Child) -> None:
    """From now on this process ingests as `child` says."""
    model_wiring.encoders = lambda *_: {"fake": Here(lambda: slow(child.load_seconds, lambda: Logged(child)))}
    if child.worker:
        model_wiring.encoders = lambda settings, home, note, *_: {"fake": in_a_process(child, note)}
    listing.plan = after(child.list_seconds, listing.plan)
    wiring.ShardLimits = partial(wiring.ShardLimits, first_tokens=child.shard_tokens, growth=1)  # type: ignore[misc]
    embedding.Embedder = partial(embedding.Embedder, flush_seconds=child.flush_seconds)  # type: ignore[misc]
    if child.die_at:
        arm(dying(child.die_at, child.times))


def in_a_process(child: Child, note: Callable[[str], None]) -> WorkerEncoder:
    said = EncoderSpec(msgspec.json.encode(child).decode(), remember=child.worker)
    return WorkerEncoder(said, engine="tests.flows.ingest_child:engine", clock=time.monotonic, note=note)


def engine(spec: EncoderSpec) -> HashEncoder:
    """What the worker loads."""
    child = msgspec.json.decode(spec.model, type=Child)
    (Path(spec.remember) / str(os.getpid())).touch()
    encoder = slow(child.load_seconds, lambda: Logged(child))
    encoder.identity = model_wiring.model_identity(load(None))
    return encoder  # type: ignore[no-any-return]


def dying(point: str, times: int) -> Callable[[str], None]:
    left = times

    def reach(here: str) -> None:
        nonlocal left
        left -= here == point
        if here == point and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def arm(reach: Callable[[str], None]) -> None:
    """Make every point of the commit and of the spool call `reach`."""
    for name in ("create", "open"):
        setattr(Writer, name, partial(getattr(Writer, name), reach=reach))
    spool.ShardWriter.close = reached(spool.ShardWriter.close, reach, "shard.closed")  # type: ignore[method-assign]
    spool.VectorLog.append = reached(spool.VectorLog.append, reach, "vectors.appended")  # type: ignore[method-assign]
    discard = spool.Shard.discard

    def dangerous(self: spool.Shard) -> None:
        reach("shard.committed")
        (self.directory / "shard.json").unlink()
        reach("shard.unmarked")
        discard(self)

    spool.Shard.discard = dangerous  # type: ignore[method-assign]


def reached(method: Callable[..., Any], reach: Callable[[str], None], point: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        reach(point)
        return result

    return call


def slow(seconds: float, make: Callable[[], Any]) -> Any:
    time.sleep(seconds)
    return make()


def after(seconds: float, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return method(*args, **options)

    return call


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
