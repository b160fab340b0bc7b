"""Document state is a dictionary, kept as sorted runs of which the later hides the earlier."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.index.blobs.blob import key
from penstock.index.commits.state import StateView, TextView, merge_plan, write_run, write_texts
from penstock.index.errors import Corrupt
from penstock.index.stores.store import LocalStore
from penstock.index.types import BlobRef, DocState, DocText, RunRef


def refuse(line):
    raise AssertionError(line)


class Desk:
    """Writes runs into one store, as commits do."""

    def __init__(self, path):
        numbers = itertools.count()
        self.work = path / "work"
        self.work.mkdir()
        self.store = LocalStore.create(path / "store", token=lambda: f"t{next(numbers)}")
        self.txns = (f"txn{n}" for n in itertools.count())

    def run(self, states, kind=write_run):
        ref, path = kind(self.work, states, next(self.txns))
        self.store.put_if_absent(key(ref.blob), path)
        return ref

    def view(self, runs, kind=StateView):
        return kind(runs, [self.store], refuse)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def state(uri, status="indexed", version="", source="docs"):
    return DocState(uri, source, status, version)


uris = st.sampled_from([f"docs/{letter}" for letter in "abcdefgh"])
changes = st.dictionaries(uris, st.sampled_from(["indexed", "failed", "rejected", "deleted"]), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(changes, max_size=8), seed=st.integers(0, 10**9))
def test_any_history_of_commits_equals_a_dictionary(tmp_path_factory, history, seed):
    """After any commits, merged by the plan, finding and scanning agree with a dict."""
    desk, runs, model = Desk(tmp_path_factory.mktemp("state")), [], {}
    for number, change in enumerate(history):
        newest = [state(uri, status, f"{number}") for uri, status in sorted(change.items())]
        count = merge_plan(runs, len(newest))
        base, merging = runs[: len(runs) - count], runs[len(runs) - count :]
        merged = desk.view(runs).merged(merging, newest, last_level=not base)
        runs = [*base, desk.run(merged)]
        model.update({one.uri: one for one in newest})
        model = {uri: one for uri, one in model.items() if one.status != "deleted"}
    view = desk.view(runs)
    assert list(view.scan()) == [model[uri] for uri in sorted(model)]
    assert view.find([f"docs/{letter}" for letter in "abcdefghi"]) == model


def test_a_scan_may_be_of_one_source(desk):
    """Only that source's documents come, and nothing whose name merely begins alike."""
    runs = [desk.run([state("a/1", source="a"), state("ab/1", source="ab"), state("b/1", source="b")])]
    assert [one.uri for one in desk.view(runs).scan("a")] == ["a/1"]


def test_a_deletion_outlives_merging_until_nothing_older_is_left(desk):
    """Dropped too early, a deleted document would come back from the older run."""
    old = desk.run([state("docs/a"), state("docs/b")])
    gone = desk.run([state("docs/a", "deleted")])
    view = desk.view([old, gone])
    assert [one.status for one in view.merged([gone], [], last_level=False)] == ["deleted"]
    assert [one.uri for one in view.merged([old, gone], [], last_level=True)] == ["docs/b"]
    assert [one.uri for one in view.scan()] == ["docs/b"]


def test_states_that_do_not_ascend_are_refused(desk):
    """A run out of order would hide documents from finding."""
    with pytest.raises(ValueError, match="ascend"):
        desk.run([state("docs/b"), state("docs/a")])


def test_a_run_that_is_not_what_the_manifest_says_is_corrupt(desk):
    """A run with another number of states is some other run."""
    ref = desk.run([state("docs/a")])
    with pytest.raises(Corrupt, match="run of 2"):
        list(desk.view([RunRef(ref.blob, 2)]).scan())


@given(sizes=st.lists(st.integers(0, 500), max_size=200))
def test_the_merge_plan_keeps_runs_few_and_rewriting_rare(sizes):
    """n states lie in at most log2(n) + 2 runs, and each was rewritten O(log n) times."""
    runs, written, total = [], 0, 0
    for size in sizes:
        count = merge_plan(runs, size)
        merged = size + sum(run.count for run in runs[len(runs) - count :])
        runs = [*runs[: len(runs) - count], RunRef(BlobRef("x", 0, ""), merged)]
        written += merged
        total += size
        assert len(runs) <= total.bit_length() + 2
    assert written <= total * (2 * total.bit_length() + 2)


def test_a_large_run_stays_when_little_changes():
    """A commit costs what changed: one document does not rewrite a hundred thousand."""
    assert merge_plan([RunRef(BlobRef("x", 0, ""), 100_000)], 1) == 0


def test_texts_are_found_and_the_later_hides_the_earlier(desk):
    """The text of a document is the newest that was written."""
    first = desk.run([DocText("a", "1", "old"), DocText("b", "2", "kept", pages=((0, 4, 1),))], write_texts)
    second = desk.run([DocText("a", "3", "new")], write_texts)
    view = desk.view([first, second], TextView)
    assert {uri: text.text for uri, text in view.find(["a", "b", "c"]).items()} == {"a": "new", "b": "kept"}
    assert [text.text for text in view.scan()] == ["new", "kept"]
    assert view.find(["b"])["b"].pages == ((0, 4, 1),)


def test_what_a_killed_run_left_behind_is_written_over(desk):
    """A part file of the same transaction does not stop the retry."""
    (desk.work / "state.txn0.part").write_bytes(b"half")
    assert desk.run([state("docs/a")]).count == 1
