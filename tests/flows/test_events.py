"""What happens in a run reaches whoever listens, and no listener can harm it."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.flows.answers.progress import Observer, Quiet
from penstock.flows.runs import events
from penstock.flows.runs.accounting import IngestRequest
from penstock.flows.runs.launch import on_threads
from penstock.flows.runs.run import Run
from tests.flows.conftest import World


def test_a_run_tells_of_documents_shards_and_commits_in_their_order(world: World) -> None:
    """From its beginning to its end; what is told of documents adds up to its account."""
    world.write("a.txt", "alpha text")
    world.write("empty.txt", "")
    told: list[events.Event] = []
    account = listened(world, told.append).execute(on_threads)
    kinds = [type(event).__name__ for event in told]
    assert (kinds[0], kinds[1], kinds[-1]) == ("RunStarted", "Listed", "RunEnded")
    order = ("DocumentPrepared", "ShardPrepared", "ShardEmbedded", "CommitLanded")
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    documents = [event for event in told if isinstance(event, events.DocumentPrepared)]
    assert {(each.uri, each.status, each.reason) for each in documents} == {
        ("docs/a.txt", "indexed", ""),
        ("docs/empty.txt", "rejected", "empty"),
    }
    (commit,) = (event for event in told if isinstance(event, events.CommitLanded))
    assert commit.documents == {"indexed": account.indexed, "rejected": account.rejected}
    assert commit.version == account.version and len(commit.fresh) == 1 and commit.fresh[0] >= 0
    assert isinstance(told[-1], events.RunEnded) and told[-1].state == "complete"


def test_a_run_that_fails_tells_its_end(world: World, tmp_path: Path) -> None:
    """Whoever counts runs must count this one, with what was wrong."""
    told: list[events.Event] = []
    request = IngestRequest(home=str(tmp_path / "other"), targets=(str(tmp_path / "nowhere"),))
    with pytest.raises(Exception, match="nowhere"):
        Run(request, Notes(), listeners=[told.append]).plan()
    assert isinstance(told[-1], events.RunEnded) and (told[-1].state, "nowhere" in told[-1].problem) == ("failed", True)


def test_a_listener_that_raises_is_left_out_and_costs_nothing(world: World) -> None:
    """The run goes on, the others hear everything, and it is said once."""
    world.write("a.txt", "alpha text")
    calls: list[events.Event] = []
    told: list[events.Event] = []

    def broken(event: events.Event) -> None:
        calls.append(event)
        raise OSError("the disk of the metrics is full")

    notes = Notes()
    account = listened(world, broken, told.append, observer=notes).execute(on_threads)
    assert (account.indexed, len(calls)) == (1, 1) and len(told) > 5
    assert [note for note in notes.lines if "the disk of the metrics is full" in note] == [
        "test_a_listener_that_raises_is_left_out_and_costs_nothing.<locals>.broken: the disk of the "
        "metrics is full; it is told nothing more of this run, documents are not affected"
    ]


class Notes(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def listened(world: World, *listeners: events.Listener, observer: Observer | None = None) -> Run:
    request = IngestRequest(home=str(world.home), targets=(str(world.docs),))
    return Run(request, observer or Notes(), listeners=listeners)
