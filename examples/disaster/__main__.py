"""`make demo-disaster`: what penstock keeps when everything goes wrong, and what that cost.

    python -m examples.disaster [FOLDER] [--at .demo-disaster] [--keep] [--json]

A wiki that misbehaves serves the documents of FOLDER, and a model behind an API counts the tokens that it is asked for.
penstock is only ever used by its commands, as processes; kills are SIGKILL. The last screen is counted in the index and
in the logs of the wiki and of the model, and compared with a home that nothing befell. Exits 1 if any figure is not
what it must be. Needs no network; nothing is left behind unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.disaster import judge
from examples.disaster.judge import Figure
from examples.disaster.world import Model, Wiki
from tests.fakes.rough.app import RoughSource
from tests.fakes.rough.faults import LANDS, Faults, spread
from tests.fakes.rough.serving import Serving
from tests.rough.setting import Setting

HERE = Path(__file__).resolve().parents[2]
PENSTOCK = Path(sys.executable).with_name("penstock")
MARK = "demo-disaster"
QUESTIONS = [
    "What happens when a replica is lost?",
    "How much disk does an index need?",
    "Who is called at night?",
    "What is a chunk?",
    "How is an index moved?",
    "Was tun bei Störungen?",
]
RATE = 0.08
"""The share of the wiki's answers that go wrong."""


class Failed(Exception):
    """The demo cannot go on; the message says what did not come to pass."""


class Stage:
    """The places and the servers of one showing."""

    def __init__(self, root: Path, folder: Path, loud: bool) -> None:
        self.root, self.site, self.elsewhere = root, root / "site", root / "elsewhere"
        self.home = self.site / "home"
        self.wiki, self.model = Wiki(folder), Model()
        self.source = RoughSource(self.wiki, latency=0.01)
        self.kills: list[float] = []
        self.accounts: list[dict[str, Any]] = []
        self.figures: list[Figure] = []
        self._started: list[subprocess.Popen[str]] = []
        self._loud, self._began = loud, time.monotonic()

    def say(self, line: str = "") -> None:
        if self._loud:
            print(f"{time.monotonic() - self._began:6.1f} s  {line}" if line else "", flush=True)

    def configure(self, folder: Path, wiki: str, model: str, dr: Path | None) -> None:
        """Write `penstock.toml`; the home lies beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            'home = "home"',
            "[embed]",
            'model = "all-MiniLM-L6-v2"',
            "[embed.endpoint]",
            f'url = "{model}/v1"',
            'tokenizer = "all-MiniLM-L6-v2"',
            "max_text_tokens = 256",
            "max_items = 8",
            "concurrency = 2",
            'allow = ["127.0.0.1/32"]',
            *(["[snapshots]", f"store = {json.dumps(str(dr))}"] if dr else []),
            Setting(style="page", retry_seconds=60.0, patience=60.0).text(wiki),
        ]
        (folder / "penstock.toml").write_text("\n".join(lines))

    def start(self, *words: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """A command of penstock, in the folder of its configuration."""
        process = subprocess.Popen(
            [PENSTOCK, *words],
            cwd=folder or self.site,
            env={**os.environ, "PENSTOCK_SLOTS": str(self.root / "slots"), "PREFECT_API_URL": ""},
            stdout=subprocess.PIPE,
            stderr=(self.root / "said").open("a"),
            text=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """No command of the demo outlives it."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def do(self, *words: str, folder: Path | None = None, show: bool = True) -> tuple[int, str]:
        """Run a command to its end: (exit code, stdout). Says how it goes on every few seconds."""
        if show:
            self.say(f"$ penstock {' '.join(words)}")
        with self.start(*words, folder=folder) as process:
            try:
                out = self._awaited(process)
            finally:
                process.kill()
        return process.returncode, out

    def _awaited(self, process: subprocess.Popen[str]) -> str:
        while True:
            try:
                return process.communicate(timeout=4)[0]
            except subprocess.TimeoutExpired:
                self.say(f"  … {self.progress()}")

    def progress(self) -> str:
        versions = len(self.log())
        return (
            f"{len(self.source.ledger.deliveries())} bodies fetched, {len(self.model.asked)} questions to the model, "
            f"{versions} versions"
        )

    def log(self) -> list[str]:
        """The versions that the first replica publishes."""
        folder = self.home / "replicas" / "0" / "log"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def answered(self, *words: str, folder: Path | None = None, code: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """As `do`, with `--json`: the answer. Raises `Failed` for another exit code."""
        ended, out = self.do(*words, "--json", folder=folder)
        if ended not in code:
            raise Failed(
                f"penstock {' '.join(words)} ended with {ended}: {out or (self.root / 'said').read_text()[-2000:]}"
            )
        found: dict[str, Any] = json.loads(out)
        return found

    def hits(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """What is answered to each question, and with which scores."""
        asked = self.root / "questions.jsonl"
        asked.write_text("".join(json.dumps({"id": str(n), "text": q}) + "\n" for n, q in enumerate(QUESTIONS)))
        code, out = self.do("search", "--queries", str(asked), "-k", "10", "--json", folder=folder)
        if code:
            raise Failed(f"penstock search ended with {code}")
        answers = [json.loads(line) for line in out.splitlines()]
        return [{"id": answer["id"], "hits": answer["hits"]} for answer in answers]


def killed(stage: Stage, when: Callable[[], bool], what: str) -> None:
    """Start an ingest, and SIGKILL it at the moment that `when` says. Raises `Failed` if it was over before."""
    stage.say("$ penstock ingest desk")
    with stage.start("ingest", "desk") as process:
        try:
            began = said = time.monotonic()
            while not when():
                if process.poll() is not None:
                    raise Failed(f"the ingest was over before it could be killed while {what}")
                if time.monotonic() - said > 4:
                    said = time.monotonic()
                    stage.say(f"  … {stage.progress()}")
                time.sleep(0.01)
        finally:
            stage.kills.append(time.monotonic())
            process.kill()
    stage.say(f"  kill -9 after {time.monotonic() - began:.1f} s, while {what}: {stage.progress()}")


def completed(stage: Stage) -> dict[str, Any]:
    """Run ingests until one has nothing left to do; what a rough source owes is tried again."""
    for _ in range(4):
        account = stage.answered("ingest", "desk", code=(0, 1))
        stage.accounts.append(account)
        if not (account["failed"] or account["deferred"]):
            return account
        stage.answered("retry", code=(0, 1))
    raise Failed(f"the ingest does not complete: {account}")


def clean_build(stage: Stage, wiki: str, model: str) -> tuple[judge.Index, list[dict[str, Any]]]:
    """The same documents, in another home, with nothing in the way."""
    stage.say("── To compare with: a clean build, in a home of its own, from a wiki that behaves")
    folder = stage.root / "clean"
    stage.configure(folder, wiki, model, None)
    stage.answered("ingest", "desk", folder=folder)
    found = judge.read(folder / "home"), stage.hits(folder)
    stage.source.calm()
    stage.model.asked.clear()
    stage.model.answered.clear()
    return found


def three_kills(stage: Stage) -> dict[str, Any]:
    stage.say()
    stage.say(f"── Act 1: {RATE:.0%} of the wiki's answers go wrong, and the ingest is killed three times")
    stage.source.faults = Faults(7, spread(RATE, LANDS), at_most=2)
    fetched, asked, many = stage.source.ledger.deliveries, stage.model.asked, len(stage.wiki.entries)
    killed(stage, lambda: len(fetched()) > many // 5, "it fetches")
    had = len(asked)
    killed(stage, lambda: len(asked) > had + 12, "it embeds")
    versions = len(stage.log())
    killed(stage, lambda: len(stage.log()) > versions, "it has just committed")
    stage.say("the same command goes on where it was, until it is done")
    account = completed(stage)
    stage.say(
        f"  {account['listed']} listed, {account['indexed']} indexed by this run, {account['unchanged']} before it"
    )
    return account


def three_losses(stage: Stage) -> None:
    stage.say()
    stage.say("── Act 2: the catalog is lost, one replica is lost, and a byte is flipped in the other")
    (stage.home / "catalog.db").unlink()
    shutil.rmtree(stage.home / "replicas" / "0")
    largest = max((stage.home / "replicas/1/blobs").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0x10
    largest.chmod(0o600)
    largest.write_bytes(data)
    done = stage.answered("repair")
    donated = sum(healed["donated"] for healed in done["replicas"].values())
    blobs = sum(healed["blobs"] for healed in done["replicas"].values())
    stage.say(f"  {blobs} blobs were put back; {donated} times from the DR store, because no replica had it whole")
    found = stage.answered("verify")
    stage.figures.append(
        Figure("healed from the DR store", f"{donated} copies; verify: {len(found['findings'])} findings",
               found["ok"] and donated > 0 and not done["documents"])
    )  # fmt: skip


def whole_home(stage: Stage, wiki: str, model: str) -> float:
    """Lose everything, restore it; return the seconds from the command to the first answer."""
    stage.say()
    stage.say("── Act 3: the whole home is lost: replicas, catalog, spool, cache")
    shutil.rmtree(stage.home)
    # The restored index is an index of its own: it is shipped to a place of its own.
    stage.configure(stage.site, wiki, model, stage.elsewhere / "dr-2")
    words = ("restore", "--from", str(stage.elsewhere / "dr"), "--config", "penstock.toml")
    stage.say(f"$ penstock {' '.join(words)}")
    began = time.monotonic()
    with stage.start(*words, "--json") as process:
        try:
            first = _first_answer(stage, process, began)
            out = process.communicate(timeout=120)[0]
        finally:
            process.kill()
    if process.returncode:
        raise Failed(
            f"penstock restore ended with {process.returncode}: {out} {(stage.root / 'said').read_text()[-2000:]}"
        )
    stage.say(f"  whole after {time.monotonic() - began:.1f} s; the first answer came after {first:.1f} s")
    return first


def _first_answer(stage: Stage, restoring: subprocess.Popen[str], began: float) -> float:
    while time.monotonic() - began < 60:
        if (stage.home / "home.json").exists():
            code, out = stage.do("search", "--json", QUESTIONS[0], show=False)
            if code == 0 and json.loads(out)["hits"]:
                return time.monotonic() - began
        if restoring.poll() not in (None, 0):
            break
        time.sleep(0.05)
    raise Failed("nothing could be found in what is being restored")


def show(stage: Stage) -> None:
    """All acts, and the figures."""
    with Serving(stage.source) as wiki, Serving(stage.model) as model:  # type: ignore[arg-type]
        stage.say(f"{len(stage.wiki.entries)} documents ({len(stage.wiki.files)} files, the others of their sentences)")
        stage.say("loading the model …")
        stage.model.vector("warm")
        stage.elsewhere.mkdir()
        clean, expected = clean_build(stage, wiki.url, model.url)
        stage.configure(stage.site, wiki.url, model.url, stage.elsewhere / "dr")
        three_kills(stage)
        before = judge.read(stage.home)
        three_losses(stage)
        seconds = whole_home(stage, wiki.url, model.url)
        stage.say("the next ingest, from the same wiki")
        asked = len(stage.model.asked)
        account = completed(stage)
        embedded = account["indexed"], len(stage.model.asked) - asked
        mine, hits = judge.read(stage.home), stage.hits()
    texts = {row[3] for row in clean.rows}
    stage.figures = [
        judge.of_account(account),
        *judge.of_content(mine, clean),
        judge.of_fetching(stage.source.ledger, stage.kills),
        judge.of_paying(stage.model, texts, stage.kills),
        judge.of_deletions(stage.accounts, before, mine),
        *stage.figures,
        Figure("embedded after the restore", f"{embedded[0]} documents, {embedded[1]} questions to the model",
               embedded == (0, 0)),
        Figure("seconds to the first answer", f"{seconds:.1f}", seconds <= 15),
        judge.of_hits(hits, expected),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo-disaster", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=HERE / "examples" / "documents")
    parser.add_argument("--at", type=Path, default=Path(".demo-disaster"), help="where all of it happens")
    parser.add_argument("--keep", action="store_true", help="leave the homes and the DR stores there")
    parser.add_argument("--json", action="store_true", help="the figures as JSON, and nothing else")
    options = parser.parse_args()
    root = options.at.absolute()
    if root.exists() and not (root / MARK).exists():
        parser.error(f"{root} is there, and is not the demo's; name another place with --at")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / MARK).touch()
    began, stage = time.monotonic(), Stage(root, options.folder, loud=not options.json)
    try:
        show(stage)
    except KeyboardInterrupt:
        print("\nmake demo-disaster: stopped; nothing is left behind" + (f" but {root}" if options.keep else ""))
        return 130
    except Failed as fault:
        stage.figures.append(Figure("the demo", str(fault), False))
    finally:
        stage.end()
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    good, seconds = all(figure.good for figure in stage.figures), round(time.monotonic() - began, 1)
    if options.json:
        said = {figure.name: {"said": figure.said, "good": figure.good} for figure in stage.figures}
        print(json.dumps({"ok": good, "seconds": seconds, "figures": said}))
    else:
        print("\n── Counted in the index, the wiki's log and the model's\n")
        for figure in stage.figures:
            print(f"  {'ok ' if figure.good else 'BAD'}  {figure.name:<28} {figure.said}")
        print(f"\n{'All is as it must be' if good else 'NOT all is as it must be'}, after {seconds:.0f} s.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
