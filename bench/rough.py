"""What a rough source costs: `faults`, time against a source that fails; `unchanged`, a source in which nothing did.

    python -m bench.rough faults    [--documents 2000] [--rate 40] [--errors 0.3] [--seed 1] [--json]
    python -m bench.rough unchanged [--items 100000] [--repeat 3] [--json]

The source is tests/fakes/rough as a process of its own; the pipeline is whole but for the model, which makes vectors
of token ids by a hash.

`faults` ingests the same documents twice at the same allowed rate: once without faults, once with `errors` of all
requests failing in every way a patient client can get over, and three storms in which everything is 429. Printed:

    landed                  documents indexed / documents there
    beyond                  by how many requests the busiest stretch of any length was above the allowed rate (1: even)
    busiest_second, peak    requests in one second, and at once, by the server's own count
    cooldowns_s             seconds in which a client that obeys every Retry-After asks nothing
    ratio                   (seconds with faults - cooldowns) / seconds without faults, both of the whole run; it
                            cannot be less than requests_ratio, as each failure costs a request at the same rate

`unchanged` lists `items` documents that the index knows already (the first run's states are committed without asking
for each body). A run over them and a listing of them alone take turns. Printed: what the run fetched, embedded and
committed, and the microseconds per item that the run takes beyond the listing itself (medians).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from penstock.connectors.types import Item
from penstock.flows import model_wiring, prefect_api, wiring
from penstock.flows.answers.progress import Quiet
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.plans.targets import Target
from penstock.flows.runs import launch
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.flows.runs.loading import Here
from penstock.flows.sources.source_wiring import Sources
from penstock.index.commits.commit import Delta
from penstock.index.types import Row
from tests.fakes.encoder import DIM, HashEncoder
from tests.fakes.rough.app import ledger_of
from tests.fakes.rough.faults import LANDS, spread
from tests.fakes.rough.ledger import Ledger
from tests.rough.setting import Setting

ROOT = Path(__file__).parents[1]
STORM_SECONDS = 2.0


class Bench:
    """A source in a process of its own, and runs against it."""

    def __init__(self, folder: Path, url: str, setting: Setting) -> None:
        self.folder, self.url = folder, url
        self.encoder = HashEncoder(rows=64)
        self.config = setting.write(folder / "penstock.toml", url)
        model_wiring.encoders = lambda *_: {"fake": Here(lambda: self.encoder)}
        prefect_api.answers = lambda note: False
        os.environ["PENSTOCK_SLOTS"] = str(folder / "slots")

    def ingest(self, home: str, **options: Any) -> tuple[Accounting, float]:
        request = IngestRequest(home=str(self.folder / home), config=str(self.config), targets=("desk",), **options)
        started = time.perf_counter()
        return launch.ingest(request, Quiet()), time.perf_counter() - started

    def ledger(self) -> Ledger:
        return ledger_of(httpx.get(f"{self.url}/_ledger", timeout=60).content)

    def control(self, **change: Any) -> None:
        httpx.post(f"{self.url}/_control", content=msgspec.json.encode(change), timeout=60).raise_for_status()


@contextmanager
def source(*arguments: str) -> Iterator[str]:
    """The URL of a rough source."""
    command = [sys.executable, "-m", "tests.fakes.rough", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
    finally:
        process.kill()
        process.communicate()


def faults(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    setting = Setting(rate=options.rate, concurrency=4, patience=60.0, read_seconds=5.0, page_size=100)
    seed = str(options.seed)
    with source("--seed", seed, "--documents", str(options.documents), "--attached", "0") as url:
        bench = Bench(folder, url, setting)
        clean, without = bench.ingest("clean")
        calm = bench.ledger()
        requests = len(calm.seen)
        bench.control(calm=True)
        quiet = [kind for kind in LANDS if not kind.startswith("throttled_") and kind != "throttled"]
        storms = [
            {"kind": "throttled", "after": int(requests * share), "seconds": STORM_SECONDS}
            for share in (0.15, 0.5, 0.9)
        ]
        rates = spread(options.errors, [*quiet, "throttled_bare"])
        bench.control(faults={"seed": options.seed, "rates": rates, "at_most": 4}, spells=storms)
        rough, with_faults = bench.ingest("rough")
        seen = bench.ledger()
    failed = sum(1 for each in seen.seen if each.fault)
    return {
        "documents": options.documents,
        "allowed_per_second": options.rate,
        "without_faults": {"seconds": round(without, 2), "requests": requests, "landed": _landed(clean, options)},
        "with_faults": {
            "seconds": round(with_faults, 2),
            "requests": len(seen.seen),
            "landed": _landed(rough, options),
        },
        "errors_share": round(failed / len(seen.seen), 3),
        "faults": dict(sorted(seen.faults().items())),
        "retries": rough.retries.get("desk", {}),
        "beyond": round(max(calm.beyond(options.rate), seen.beyond(options.rate)), 2),
        "busiest_second": seen.busiest(),
        "peak": seen.peak(),
        "concurrency": setting.concurrency,
        "cooldowns_s": round(seen.cooldowns(), 2),
        "requests_ratio": round(len(seen.seen) / requests, 3),
        "ratio": round((with_faults - seen.cooldowns()) / without, 3),
    }


def _landed(account: Accounting, options: argparse.Namespace) -> float:
    return account.indexed / options.documents


def unchanged(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    with source("--documents", str(options.items), "--attached", "0") as url:
        bench = Bench(folder, url, Setting(page_size=1000, read_seconds=30.0))
        before, _ = bench.ingest("home", limit=1)
        if before.indexed != 1:
            sys.exit(f"the first document did not land: {before}")
        items = _list(bench)
        version = _known(bench, items)
        bench.control(calm=True)
        embedded = len(bench.encoder.embedded)
        listing, running = [], []
        for _ in range(options.repeat):
            started = time.perf_counter()
            _list(bench)
            listing.append(time.perf_counter() - started)
            account, took = bench.ingest("home")
            running.append(took)
            if account.unchanged != options.items:
                sys.exit(f"not everything was unchanged: {account}")
        bodies = bench.ledger().deliveries().total()
    list_s, run_s = statistics.median(listing), statistics.median(running)
    return {
        "items": options.items,
        "fetched": bodies,
        "embedded": len(bench.encoder.embedded) - embedded,
        "commits": account.version - version,
        "listing_s": round(list_s, 3),
        "run_s": round(run_s, 3),
        "us_per_item_beyond_listing": round((run_s - list_s) / options.items * 1e6, 1),
        "us_per_item_of_listing": round(list_s / options.items * 1e6, 1),
    }


def _list(bench: Bench) -> list[Item]:
    """What the connector lists, asked as a run asks it, and nothing else done."""
    settings, home = load(bench.config), homes.require(bench.folder / "home")
    with ExitStack() as stack:
        sources = Sources(settings, home, stopped=lambda: False, note=print, stack=stack)
        opened = sources.open(Target(sources.configured()["desk"]))
        return [entry for entry in opened.list() if isinstance(entry, Item)]


def _known(bench: Bench, items: Sequence[Item]) -> int:
    """Commit the states, and a vector each, that a first run would have left. Returns the version."""
    settings, home = load(bench.config), homes.require(bench.folder / "home")
    dice = np.random.default_rng(1)
    with wiring.open_writer(settings, home, print) as writer:
        (model,) = (state for state in writer.states().scan("desk") if state.status == "indexed")
        rest = [item for item in items if item.uri != model.uri]
        vectors = dice.standard_normal((len(rest), DIM), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        states = [
            msgspec.structs.replace(model, uri=item.uri, version=item.version, content=f"{number:064x}", chunks=1)
            for number, item in enumerate(rest)
        ]
        head = writer.head()
        made = Delta(
            base_version=head.version,
            states=states,
            vectors=vectors,
            rows=lambda: (Row(f"{number:032x}", item.uri, "text", 0, 4, 1) for number, item in enumerate(rest)),
            identity=head.spaces[head.live].identity,
            dim=DIM,
        )
        return writer.commit(made).version


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("faults", help="time against a source that fails")
    one.add_argument("--documents", type=int, default=2000)
    one.add_argument("--rate", type=float, default=40.0, help="requests per second that are allowed")
    one.add_argument("--errors", type=float, default=0.3, help="share of requests that fail")
    one.add_argument("--seed", type=int, default=1)
    one.set_defaults(act=faults)
    two = commands.add_parser("unchanged", help="a source in which nothing changed")
    two.add_argument("--items", type=int, default=100_000)
    two.add_argument("--repeat", type=int, default=3)
    two.set_defaults(act=unchanged)
    for command in (one, two):
        command.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-rough-") as folder:
        figures = options.act(Path(folder), options)
    print(json.dumps(figures) if options.json else json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
