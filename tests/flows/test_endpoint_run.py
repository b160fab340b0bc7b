"""A whole ingest over an endpoint: planned, paid for once, killed, resumed, searched; its key is nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.cmd_search import as_made
from penstock.flows.config.settings import load
from penstock.index.reading.reader import Reader
from penstock.index.types import SpaceRef
from tests.fakes.embeddings_server import POISON, Embeddings, vector
from tests.fakes.rough.serving import Serving

KEY = "sk-hush-0123456789abcdef"
ITEMS, AT_ONCE, FLUSH_SECONDS, LATENCY = 4, 3, 0.05, 0.04
COMMAND = f"""
import sys
from functools import partial
from penstock.flows import cli
from penstock.flows.runs import embedding
embedding.Embedder = partial(embedding.Embedder, flush_seconds={FLUSH_SECONDS})
sys.exit(cli.main())
"""


class Place:
    """A home, documents, a configuration with an endpoint, and the endpoint."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.home, self.docs = folder, folder / "home", folder / "docs"
        self.config = folder / "penstock.toml"
        self.docs.mkdir()
        self.app = Embeddings(key=KEY)
        self.server = stack.enter_context(Serving(self.app))  # type: ignore[arg-type]
        self.configure()

    def configure(self, **keys: Any) -> None:
        said = {"url": f"{self.server.url}/v1", "key": "${HUSH}", "allow": ["127.0.0.0/8"], "max_items": ITEMS,
                "concurrency": AT_ONCE, "seconds": 3.0, "price_per_million_tokens": 20.0, **keys}  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in said.items()]
        self.config.write_text(
            "\n".join(['[embed]\nmodel = "fake-embed"\nchunk_tokens = 64\n[embed.endpoint]', *lines])
        )

    def write(self, count: int) -> None:
        for number in range(count):
            sentences = (f"Document {number} keeps part {part} in place {part * number}." for part in range(number % 9))
            (self.docs / f"{number:03d}.txt").write_text(" ".join([f"This is number {number}.", *sentences]))

    def start(self, *words: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "HUSH": KEY, "PENSTOCK_SLOTS": str(self.folder / "slots"), "PREFECT_API_URL": ""}
        (self.folder / "slots").mkdir(exist_ok=True)
        command = [sys.executable, "-c", COMMAND, *words]
        command += ["--home", str(self.home), "--config", str(self.config), "--json"]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, dict[str, Any], str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=240)
        assert KEY not in out and KEY not in err
        return process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err

    def served(self) -> set[tuple[str, str]]:
        with Reader.open(self.home) as reader:
            uris = sorted(state.uri for state in reader.states())
            return {(one.row.uri, one.row.text) for one in reader.passages(uris)}

    def paid(self) -> Counter[str]:
        return Counter(text for one in self.app.asked if one.status == 200 for text in one.texts)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_an_ingest_over_an_endpoint(place: Place) -> None:
    """Planned with its price, each document accounted for, each text paid for once, found again; the key is nowhere."""
    place.write(40)
    (place.docs / "bad.txt").write_text(f"This one is {POISON}.")
    _, planned, _ = place.run("plan", str(place.docs))
    assert planned["would_cost"] == pytest.approx(planned["would_embed_tokens"] * 20 / 1e6)
    code, account, err = place.run("ingest", str(place.docs))
    assert (code, account["listed"], account["indexed"], account["rejected"]) == (0, 41, 40, 1), (account, err)
    assert account["billed_tokens"] == place.app.billed
    assert account["cost"] == pytest.approx(place.app.billed * 20 / 1e6)
    documents = {text: count for text, count in place.paid().items() if text.startswith(("This", "Document"))}
    assert set(documents.values()) == {1}
    with Reader.open(place.home) as reader:
        (hits,) = reader.search(vector("This is number 27.")[None, :], k=1)
        assert hits[0].uri == "docs/027.txt"
    code, answer, _ = place.run("search", "This is number 27.", "-k", "1")
    assert code == 0 and answer["hits"][0]["uri"] == "docs/027.txt"
    asked = len(place.app.asked)
    code, account, _ = place.run("ingest", str(place.docs))
    assert (code, account["unchanged"], len(place.app.asked)) == (0, 40, asked)
    held = subprocess.run(["grep", "-rlaF", KEY, str(place.folder)], capture_output=True, text=True, check=False)
    assert held.stdout == ""


def test_killed_in_the_middle_it_pays_again_only_for_what_was_in_the_air(place: Place) -> None:
    """SIGKILL, twice; every document is there in the end, and no kill costs more than what came since the last flush
    and what was under way."""
    place.write(120)
    place.app.latency = LATENCY
    kills = 0
    for answers in (15, 40):
        with place.start("ingest", str(place.docs)) as process:
            until = time.monotonic() + 90
            while len(place.paid()) < answers * ITEMS and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
                kills += 1
            process.communicate()
            assert process.returncode in (0, -signal.SIGKILL)
    assert kills
    code, account, err = place.run("ingest", str(place.docs))
    assert (code, account["listed"]) == (0, 120), (account, err)
    assert len({uri for uri, _ in place.served()}) == 120
    often = place.paid()
    twice = sum(often[text] - 1 for text in {text for _, text in place.served()})
    assert twice <= kills * ITEMS * AT_ONCE * (2 * FLUSH_SECONDS / LATENCY + 3), (twice, len(often))
    assert all(often[text] >= 1 for _, text in place.served())


def test_a_budget_ends_a_run_cleanly_and_the_next_goes_on(place: Place) -> None:
    """Exit 1 and a word about it; runs add up to a whole index, and the bill of none passes its limit."""
    place.write(60)
    place.configure(max_tokens_per_run=5000)
    for _ in range(6):
        before = place.app.billed
        code, account, err = place.run("ingest", str(place.docs))
        assert place.app.billed - before <= 5000
        if code == 0:
            break
        assert code == 1 and any("one run may spend" in message for message in account["messages"]), (account, err)
    assert code == 0 and len({uri for uri, _ in place.served()}) == 60


def test_an_endpoint_that_is_away_defers_everything_and_loses_nothing(place: Place) -> None:
    """Exit 1, the documents wait; when it is back the same command goes on without fetching again."""
    place.write(10)
    place.configure(patience=0.5, attempts=2)
    place.server.down()
    code, account, err = place.run("ingest", str(place.docs))
    assert (code, account["deferred"], account["indexed"]) == (1, 10, 0), (account, err)
    place.server.up()
    time.sleep(0.5)
    code, account, err = place.run("ingest", str(place.docs))
    assert (code, account["indexed"]) == (0, 10), (account, err)


def test_another_model_under_the_same_name_is_caught(place: Place) -> None:
    """Canaries of the index are asked for at each run: a provider that changes the model writes nothing."""
    place.write(10)
    assert place.run("ingest", str(place.docs))[0] == 0
    before = place.served()
    place.app.shift = 0.3
    (place.docs / "new.txt").write_text("Something new came in.")
    code, said, err = place.run("ingest", str(place.docs))
    assert code == 2 and "canary" in json.dumps(said) + err
    assert place.served() == before


def test_an_index_of_an_endpoint_is_searched_with_that_endpoint() -> None:
    """Without it in the configuration, the message says what is lacking, and no model is looked for on the hub."""
    space = SpaceRef(8, {"endpoint": "openai-embeddings", "model": "text-embedding-3-small"})
    with pytest.raises(UsageError, match=r"text-embedding-3-small: describe that in \[embed\.endpoint\]"):
        as_made(space, load(None))
