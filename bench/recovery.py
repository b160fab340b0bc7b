"""Disaster recovery, measured: how far shipping lags, what a snapshot and a restore cost, how long a drill takes.

    python -m bench.recovery [--gigabytes G] [--pace S] [--turns N] [--scratch DIR] [--json] [--page FILE]

Commits made-up rows with random vectors, as many a commit as a shard has, while each commit is shipped to a folder:
faster than any model, so the lag is rather too high (`--pace`: seconds between commits). Then: a snapshot with nothing
new, with 1 % and with 10 % new; restores, in turn with `cp` and `sha256sum` of the same bytes; the first query; a
drill. `--page docs/reliability.md` writes the table between the recovery marks of that page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import machine

from penstock.flows import wiring
from penstock.flows.config import home as homes
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings, load
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import archives, restoring
from penstock.index.commits.commit import Delta, Writer
from penstock.index.commits.manifest import closure
from penstock.index.reading.reader import Reader
from penstock.index.recovery.shipping import Shipped, Shipper
from penstock.index.types import DocState, Row, SourceState

DIM, PER_DOCUMENT, PER_COMMIT, PASSAGE = 384, 16, 20_000, 900
LAG, RATIO, FIRST = 10.0, 0.7, 5.0
"""Targets: seconds of lag at p99, restore against cp and sha256sum, seconds to the first query."""
SEED = 20261121
SOURCE = SourceState("made-up", "files", "/made/up")


class Rows:
    """Made-up documents, the same for the same number: passages are slices of one text, vectors are random."""

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED)
        letters = rng.integers(97, 123, 60_000, dtype=np.uint8).tobytes().decode()
        words = [letters[at : at + 2 + at % 9] for at in range(0, 50_000, 7)]
        self._text = " ".join(words[n] for n in (rng.zipf(1.2, 800_000) % len(words)))

    def delta(self, base: int, number: int, rows: int) -> Delta:
        """Commit `number`: documents of `PER_DOCUMENT` passages, `rows` in all."""
        rng = np.random.default_rng([SEED, number])
        vectors = rng.standard_normal((rows, DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        at = rng.integers(0, len(self._text) - PASSAGE, rows)
        uris = [f"made-up/{number:05d}-{n:05d}.txt" for n in range(rows // PER_DOCUMENT)]

        def passages() -> Iterator[Row]:
            for row in range(rows):
                uri, place = uris[row // PER_DOCUMENT], row % PER_DOCUMENT
                text = self._text[at[row] : at[row] + PASSAGE]
                yield Row(f"{number:05d}{row:08d}", uri, text, place * PASSAGE, (place + 1) * PASSAGE, 200)

        states = [DocState(uri, SOURCE.name, "indexed", "1", uri, "text", chunks=PER_DOCUMENT) for uri in uris]
        return Delta(
            base, states, vectors, passages, sources={SOURCE.name: SOURCE}, identity={"weights": "random"}, dim=DIM
        )


class Shipping(threading.Thread):
    """Ships beside the commits, as a run does; `shipped` is what each turn did."""

    def __init__(self, shipper: Shipper) -> None:
        super().__init__()
        self._shipper, self._news, self._over = shipper, threading.Event(), False
        self.shipped: list[Shipped] = []
        self.failed: BaseException | None = None

    def kick(self) -> None:
        self._news.set()

    def run(self) -> None:
        try:
            while not self._over:
                self._news.wait()
                self._news.clear()
                self.shipped.append(self._shipper.catch_up())
        except BaseException as error:
            self.failed = error

    def end(self) -> None:
        self._over = True
        self.kick()
        self.join()
        if self.failed is not None:
            raise self.failed
        self.shipped.append(self._shipper.catch_up())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, metavar="G", help="of vectors and rows (default: 1)")
    parser.add_argument("--pace", type=float, default=0.0, metavar="S", help="seconds between two commits")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="restores of each kind (default: 3)")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where to work (default: the temporary folder)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="penstock-recovery-", dir=args.scratch))
    try:
        found = measure(scratch, args)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if args.page:
        write(args.page, table(found))
    if args.json:
        print(json.dumps(found))
    else:
        machine.show(found)
    return 0


def measure(scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, one after the other."""
    dr, config = scratch / "dr", scratch / "penstock.toml"
    config.write_text(f'home = "home"\n[snapshots]\nstore = "{dr}"\n')
    settings = load(config)
    home = homes.create(scratch / "home")
    found: dict[str, Any] = {"machine": machine.described(("faiss-cpu", "numpy")), "load_before": machine.load()}
    found["shipping"], number = run(settings, home, args)
    found["snapshots"] = snapshots(settings, home, number)
    found["restores"] = {
        f"{replicas} replica{'s' * (replicas > 1)}": restores(scratch, dr, replicas, args.turns) for replicas in (1, 2)
    }
    found["drill"] = drill(config, home)
    lag, least = found["shipping"]["lag_p99"], min(each["to_cp_sha256"] for each in found["restores"].values())
    first = max(each["seconds_to_first_query"] for each in found["restores"].values())
    found["targets"] = {
        f"lag p99 < {LAG:g} s": said(lag < LAG, lag),
        f"restore >= {RATIO} of cp and sha256sum": said(least >= RATIO, least),
        f"first query <= {FIRST:g} s": said(first <= FIRST, first),
    }
    return found


def said(met: bool, figure: float) -> str:
    return f"{'met' if met else 'MISSED'}: {figure}"


def run(settings: Settings, home: Home, args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Commit until the index is large enough, shipping beside it; what that was like, and the number of commits."""
    rows, number = Rows(), 0
    with wiring.open_writer(settings, home, machine.say) as writer:
        shipping = Shipping(shipper(settings, home, writer))
        shipping.start()
        started, commits = time.perf_counter(), list[float]()
        while size(writer) < args.gigabytes * 1e9:
            delta = rows.delta(writer.head().version, number, PER_COMMIT)
            began = time.perf_counter()
            writer.commit(delta)
            commits.append(time.perf_counter() - began)
            shipping.kick()
            number += 1
            machine.say(f"commit {number}: {size(writer) / 1e9:.2f} GB, {commits[-1]:.2f} s")
            time.sleep(args.pace)
        shipping.end()
        seconds = time.perf_counter() - started
    lags = [lag for each in shipping.shipped for lag in each.lags]
    return {
        "gigabytes": round(size_of(settings, home) / 1e9, 3),
        "vectors": number * PER_COMMIT,
        "commits": number,
        "versions_shipped": len(lags),
        "seconds_between_commits": round(seconds / number, 2),
        "commit_p50": round(statistics.median(commits), 3),
        "lag_p50": round(float(np.quantile(lags, 0.5)), 2),
        "lag_p99": round(float(np.quantile(lags, 0.99)), 2),
        "lag_most": round(max(lags), 2),
    }, number


def shipper(settings: Settings, home: Home, writer: Writer) -> Shipper:
    import os

    archive = archives.made(settings.snapshots.places[0], os.environ, machine.say)
    replicas = list(wiring.stores(settings, home).values())
    return Shipper(
        replicas, archive, lineage=writer.meta.lineage, scratch=home.spool, clock=wiring.clock, report=machine.say
    )


def size(writer: Writer) -> int:
    """Bytes of all blobs that the head needs."""
    return sum(ref.size for ref in closure(writer.head()).values())


def size_of(settings: Settings, home: Home) -> int:
    with wiring.open_writer(settings, home, machine.say) as writer:
        return size(writer)


def snapshots(settings: Settings, home: Home, number: int) -> dict[str, Any]:
    """`penstock snapshot create` with so much of the index new."""
    found: dict[str, Any] = {}
    rows = Rows()
    for share in (0.0, 0.01, 0.1):
        with wiring.open_writer(settings, home, machine.say) as writer:
            whole = size(writer)
            if share:
                left = int(share * number * PER_COMMIT) // PER_DOCUMENT * PER_DOCUMENT
                while left:
                    some, number = min(left, PER_COMMIT), number + 1
                    writer.commit(rows.delta(writer.head().version, 10_000 + number, some))
                    left -= some
        answer, seconds = command("snapshot", "create", "--name", f"share-{share:g}", config=config_of(home))
        copied = sum(each["copied_blobs"] for each in answer["stores"])
        bytes_ = sum(each["copied_bytes"] for each in answer["stores"])
        found[f"{share:.0%} new"] = {
            "blobs": copied,
            "bytes_share": round(bytes_ / whole, 4),
            "seconds_with_start": round(seconds, 2),
        }
        machine.say(f"snapshot: {found[f'{share:.0%} new']}")
    return found


def restores(scratch: Path, dr: Path, replicas: int, turns: int) -> dict[str, Any]:
    """Restores into homes with so many replicas, in turn with cp and sha256sum of what they put there."""
    ours, theirs, first, whole, done = list[float](), list[float](), list[float](), list[float](), None
    for turn in range(turns):
        home = scratch / f"restored-{replicas}-{turn}"
        settings = load(None, {"home": str(home), "index.replicas": replicas})
        asked: list[float] = []
        began = time.perf_counter()
        request = restoring.Request((StorePlace(str(dr)),), fork=True)
        done = restoring.restore(settings, home, request, machine.say, lambda *_: None, ask(asked, began))
        ours.append(time.perf_counter() - began)
        first.append(asked[0])
        whole.append(done.seconds_to_whole)
        theirs.append(plainly(home, replicas, scratch / "copied"))
        machine.say(f"restore, {replicas} replicas: {ours[-1]:.2f} s; cp and sha256sum {theirs[-1]:.2f} s")
        shutil.rmtree(home)
    assert done is not None
    gigabytes = done.bytes / 1e9
    return {
        "gigabytes": round(gigabytes, 3),
        "seconds": round(statistics.median(ours), 2),
        "seconds_per_gigabyte": round(statistics.median(ours) / gigabytes, 2),
        "cp_sha256_seconds": round(statistics.median(theirs), 2),
        "to_cp_sha256": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 2),
        "of_each": [round(b / a, 2) for a, b in zip(ours, theirs, strict=True)],
        "seconds_to_first_query": round(max(first), 2),
    }


def ask(asked: list[float], began: float) -> Callable[[Reader], None]:
    """Ask one question of what is being restored, and note when it was answered."""

    def search(reader: Reader) -> None:
        query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
        assert reader.search(query / np.linalg.norm(query), k=10)[0]
        asked.append(time.perf_counter() - began)

    return search


def plainly(home: Path, replicas: int, into: Path) -> float:
    """Seconds that cp and sha256sum take for what lies in the home's replicas: each copied, each summed."""
    began = time.perf_counter()
    for number in range(replicas):
        subprocess.run(["cp", "-r", home / "replicas" / str(number), into], check=True)
        files = [file for file in (into / "blobs").rglob("*") if file.is_file()]
        subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(into)
    return time.perf_counter() - began


def drill(config: Path, home: Home) -> dict[str, Any]:
    """One `penstock drill`, as it is typed."""
    answer, seconds = command("drill", config=config)
    figures = {key: round(value, 2) for key, value in answer["drills"][0].items() if isinstance(value, float)}
    return {"seconds_with_start": round(seconds, 2), "result": answer["result"], **figures}


def config_of(home: Home) -> Path:
    return home.path.parent / "penstock.toml"


def command(*words: str, config: Path) -> tuple[dict[str, Any], float]:
    """A command's answer, and the seconds that it took, interpreter and imports included."""
    began = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-m", "penstock.flows.cli", *words, "--config", str(config), "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer, time.perf_counter() - began


def table(found: dict[str, Any]) -> str:
    """The figures as the page shows them."""
    ship, drilled = found["shipping"], found["drill"]
    rows = [
        ("index", f"{ship['gigabytes']} GB, {ship['vectors']:,} vectors of {DIM}, {ship['commits']} commits"),
        (
            f"ship lag p50 / p99 / most, a commit every {ship['seconds_between_commits']} s (target: p99 < {LAG:g} s)",
            f"{ship['lag_p50']} / {ship['lag_p99']} / {ship['lag_most']} s",
        ),
    ]
    for share, each in found["snapshots"].items():
        copied = f"{each['blobs']} blobs, {each['bytes_share']:.2%} of the index, {each['seconds_with_start']} s"
        rows.append((f"`snapshot create`, {share}", copied))
    for replicas, each in found["restores"].items():
        name = f"restore into {replicas}: s/GB; of the speed of cp and sha256sum (target: {RATIO})"
        rows.append((name, f"{each['seconds_per_gigabyte']}; {each['to_cp_sha256']}"))
        first = f"{each['seconds_to_first_query']} s"
        rows.append((f"first query while restoring into {replicas} (target: {FIRST:g} s)", first))
    rows.append(("`drill`, all of it; what came of it", f"{drilled['seconds_with_start']} s; {drilled['result']}"))
    on = ", ".join(found["machine"][key] for key in ("date", "cpu")) + f", {found['machine']['cores']} cores"
    return "\n".join([f"{on}; one machine, one disk.", "", "| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def write(page: Path, text: str) -> None:
    """Put `text` between the marks of the page."""
    before, rest = page.read_text().split("<!-- recovery -->")
    _, after = rest.split("<!-- /recovery -->")
    page.write_text(f"{before}<!-- recovery -->\n{text}\n<!-- /recovery -->{after}")


if __name__ == "__main__":
    sys.exit(main())
