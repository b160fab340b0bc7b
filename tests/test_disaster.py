"""The figures of `make demo-disaster`: each would notice what it is there to notice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.disaster import judge
from examples.disaster.world import FEWEST, Model, Wiki
from penstock.index.types import DocState
from tests.fakes.embeddings_server import Asked
from tests.fakes.rough.ledger import Ledger, Seen

KILLS = [100.0, 200.0]


def index(**documents: str) -> judge.Index:
    states = {uri: DocState(uri, "desk", "indexed", version=said, content=said) for uri, said in documents.items()}
    return judge.Index(states, Counter({(uri, 0, len(said), said): 1 for uri, said in documents.items()}))


def good(*figures: judge.Figure) -> list[bool]:
    return [figure.good for figure in figures]


def test_what_is_missing_there_twice_or_old_is_told_apart() -> None:
    """Against a clean build of two documents."""
    clean = index(a="one", b="two")
    assert good(*judge.of_content(clean, clean)) == [True, True, True]
    assert good(*judge.of_content(index(a="one"), clean)) == [False, True, True]
    twice = index(a="one", b="two")
    twice.rows["a", 0, 3, "one"] += 1
    assert good(*judge.of_content(twice, clean)) == [True, False, True]
    assert good(*judge.of_content(index(a="one", b="old"), clean))[2] is False
    assert good(*judge.of_content(index(a="one", b="two", c="gone"), clean))[2] is False


def test_a_document_that_is_gone_was_wrongly_deleted() -> None:
    """Whatever the accounts say; and whatever the index says, if an account counts one."""
    assert judge.of_deletions([{"deleted": 0}], index(a="one"), index(a="one")).good
    assert not judge.of_deletions([{"deleted": 0}], index(a="one", b="two"), index(a="one")).good
    assert not judge.of_deletions([{"deleted": 1}], index(a="one"), index(a="one")).good


def fetched(*deliveries: tuple[str, float]) -> judge.Figure:
    seen = [Seen(at, "GET", f"/{name}", 1, document=name, delivered=True, ended=at) for name, at in deliveries]
    return judge.of_fetching(Ledger(seen), KILLS)


def test_only_a_kill_explains_a_second_fetch_and_only_of_what_is_in_hand() -> None:
    """Twice within one run is not explained, nor more at once than a run works on."""
    assert fetched(("a", 99.0), ("a", 110.0), ("b", 120.0)).good
    assert not fetched(("a", 110.0), ("a", 120.0)).good
    assert not fetched().good
    everything = [(f"{n}", at) for n in range(judge.IN_HAND + 1) for at in (99.0, 110.0)]
    assert not fetched(*everything).good
    assert fetched(*everything[2:]).good


@pytest.mark.parametrize(("first", "excused"), [(98.0, True), (90.0, False), (110.0, False)])
def test_only_answers_of_the_last_seconds_before_a_kill_may_be_paid_for_twice(first: float, excused: bool) -> None:
    """The rest is in the spool."""
    model = Model()
    asked = Asked(0.0, ("a text",), 4)
    model.answered += [(first, asked.texts), (130.0, asked.texts)]
    assert judge.of_paying(model, {"a text"}, KILLS).good is excused


def test_an_account_that_does_not_add_up_is_noticed() -> None:
    """Or one of nothing at all."""
    account = dict.fromkeys((*judge.STATES, "listed"), 0)
    assert not judge.of_account(account).good
    assert judge.of_account({**account, "listed": 3, "indexed": 2, "rejected": 1}).good
    assert not judge.of_account({**account, "listed": 3, "indexed": 2}).good


def test_a_folder_with_few_files_is_filled_up_with_its_own_sentences(tmp_path: Path) -> None:
    """Each a document of its own; the files themselves stay as they are, whatever they are."""
    (tmp_path / "a.md").write_text("# Title\n\nThe gate is closed before the storm arrives. Nobody may open it.")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-")
    wiki = Wiki(tmp_path)
    assert len(wiki.entries) == FEWEST
    assert wiki.body(wiki.entries[1]) == (tmp_path / "a.md").read_text()
    (attached,) = wiki.attachments(wiki.entries[2])
    assert wiki.file(attached.name) == (wiki.entries[2], b"%PDF-", attached.media)
    assert "The gate is closed before the storm arrives." in wiki.body(wiki.entries[3])
    assert len({wiki.body(entry) for entry in wiki.entries.values()}) == FEWEST


def test_ctrl_c_ends_it_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """With the exit code of an interrupt, and no traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.disaster", "--at", str(tmp_path / "demo")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        while "$ penstock" not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=240)
    assert (demo.returncode, err) == (130, "")
    assert out.rstrip().endswith("stopped; nothing is left behind") and not (tmp_path / "demo").exists()
