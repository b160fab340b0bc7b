"""A home and the runs between it and one server: real commands, what they said, what is in the index afterwards."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.index.reading.reader import Reader
from tests.flows.children import served

ROOT = Path(__file__).resolve().parents[3]
NAME = "desk"
"""What each source is called."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: its exit status, its account (empty if it has none) and what it said on stderr."""

    code: int
    account: dict[str, Any]
    said: str
    seconds: float

    def __getattr__(self, name: str) -> Any:
        return self.account.get(name, -1)

    def brief(self) -> str:
        names = (
            "listed",
            "unchanged",
            "indexed",
            "failed",
            "rejected",
            "deferred",
            "deleted",
            "withheld",
            "gaps",
            "fetched",
        )
        told = ", ".join(f"{name} {self.account[name]}" for name in names if self.account.get(name))
        return f"exit {self.code}: {told or last(self.said)}; {self.seconds:.1f} s"


class Desk:
    """`config` is the text of `[sources.desk]` and what belongs to it; it may be replaced between runs."""

    def __init__(self, folder: Path, config: str, secrets: Mapping[str, str], later: float = 0.0) -> None:
        self.folder, self.config = folder, config
        self.home = folder / "home"
        self.secrets, self.later = dict(secrets), later
        self._found: set[str] = set()
        self._clean = 0
        folder.mkdir(parents=True, exist_ok=True)

    def ingest(self, *words: str, home: Path | None = None) -> Ran:
        return self.run("ingest", NAME, *words, "--json", "-v", home=home)

    def run(self, *words: str, home: Path | None = None) -> Ran:
        """Any command; its process list is watched for secrets meanwhile."""
        file = self.folder / "penstock.toml"
        file.write_text(self.config)
        environ = {
            **os.environ,
            **self.secrets,
            "OMP_NUM_THREADS": "1",
            "PREFECT_API_URL": "",
            "PENSTOCK_SLOTS": str(self.folder / "slots"),
        }
        command = [
            sys.executable,
            "-m",
            "tests.proof.real.child",
            str(self.later),
            *words,
            "--home",
            str(home or self.home),
            "--config",
            str(file),
        ]
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watcher.start()
        out, err = process.communicate(timeout=300)
        over.set()
        watcher.join()
        self._look(out + err, "the output of a run")
        try:
            account = json.loads(out)
        except ValueError:
            account = {}
        return Ran(process.returncode, account if isinstance(account, dict) else {}, err, time.monotonic() - started)

    def indexed(self) -> set[str]:
        """Uris of what is whole in the index."""
        with Reader.open(self.home) as reader:
            return {state.uri for state in reader.states(NAME) if state.status == "indexed"}

    def differences(self, *, tokens: bool = True) -> str:
        """How the index differs from one that is built in one go now: documents, contents, states, chunks, version
        tokens (unless not `tokens`) and hits. Empty: not at all."""
        self._clean += 1
        clean = self.folder / f"clean-{self._clean}"
        ran = self.ingest(home=clean)
        if ran.code != 0:
            return f"the clean build ended with {ran.brief()}"
        mine, theirs = facts(self.home, tokens), facts(clean, tokens)
        other = sorted(uri for uri in mine | theirs if mine.get(uri) != theirs.get(uri))
        if other:
            shown = "; ".join(f"{uri}: {mine.get(uri)} / {theirs.get(uri)}" for uri in other[:3])
            return f"{len(other)} documents differ: {shown}"
        return "" if served(self.home) == served(clean) else "hits differ"

    def leaks(self) -> str:
        """Where a secret was seen: outputs, the process list, files of the homes. Empty: nowhere."""
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                self._look(path.read_bytes().decode("latin-1"), str(path.relative_to(self.folder)))
        return "; ".join(sorted(self._found))

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.2):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self._look(entry.read_bytes().decode("latin-1"), "the process list")
                except OSError:
                    continue

    def _look(self, text: str, where: str) -> None:
        for name, value in self.secrets.items():
            if value and any(form in text for form in forms(value)):
                self._found.add(f"{name} in {where}")


def last(said: str) -> str:
    """The last line of what was said: after a traceback, the error."""
    line = (said.strip().splitlines() or [""])[-1]
    return re.sub(r"^[\w.]+: ", "", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", line))[:250]


def forms(secret: str) -> set[str]:
    """As it is, in an address, and in a header of basic authentication (three places in the groups of base64)."""
    packed = {base64.b64encode(b"x" * pad + secret.encode()).decode()[4:-4] for pad in range(3)}
    return {secret, quote(secret, safe=""), *(each for each in packed if len(each) >= 8)}


def facts(home: Path, tokens: bool) -> dict[str, tuple[str, str, str, int, str]]:
    """By uri: status, version token, digest of the content, chunks, reason."""
    with Reader.open(home) as reader:
        return {
            state.uri: (state.status, state.version if tokens else "", state.content, state.chunks, state.reason)
            for state in reader.states(NAME)
        }
