"""What people read: the worst first, the next command, and nothing that drives their terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.answers import render
from penstock.flows.answers.account_table import accounting
from penstock.flows.runs.accounting import STATES, Accounting, Unbalanced
from penstock.flows.runs.pipeline import rate
from penstock.index.types import DocState, Finding, Hit


def hit(text: str = "a passage", uri: str = "docs/a.pdf") -> Hit:
    return Hit(uri, 0.51234, text, 3, 0, len(text), "id", heading=("Chapter", "Part"))


def test_a_complete_run_says_so_and_shows_every_state() -> None:
    """Rejections carry their reasons and are no reason to worry."""
    account = Accounting(
        listed=12, indexed=10, rejected=2, version=4, chunks=30, tokens=4000, seconds=2.0,
        reasons={"rejected": {"empty": 1, "encrypted": 1}},
    )  # fmt: skip
    account.check()
    shown = accounting(account)
    assert account.exit_code() == 0
    assert shown.startswith("Complete: version 4 is committed.")
    assert "empty 1, encrypted 1" in shown
    assert "Next:" not in shown
    for state in STATES:
        assert f"  {state}" in shown


@pytest.mark.parametrize(
    ("account", "step"),
    [
        (Accounting(listed=1, failed=1), "penstock failures"),
        (Accounting(listed=1, deferred=1), "goes on with what was deferred"),
        (Accounting(listed=0, withheld=30), "if it really is: the same command --confirm-deletions 30"),
        (Accounting(listed=0, gaps=1), "make readable what the notes name"),
    ],
)
def test_an_incomplete_run_names_the_next_step(account: Accounting, step: str) -> None:
    """And ends with 1."""
    account.check()
    shown = accounting(account)
    assert account.exit_code() == 1
    assert shown.startswith("Incomplete: ")
    assert step in shown


def test_a_dry_run_says_that_nothing_was_changed() -> None:
    """And does not pretend that something is wrong."""
    account = Accounting(listed=6, unchanged=1, deferred=5, would_fetch_bytes=2_000_000, would_delete=3, would_new=5)
    shown = accounting(account, dry_run=True, again="penstock ingest docs")
    assert shown.startswith("A run would process 5 documents, fetch 2.0 MB, delete 3 documents. Nothing was changed.")
    rows = [line.split() for line in shown.splitlines()]
    for row in (["to", "index", "5"], ["to", "delete", "3"], ["to", "fetch", "2.0", "MB"], ["unchanged", "1"]):
        assert row in rows
    assert shown.endswith("Next: penstock ingest docs")
    idle = accounting(Accounting(listed=1, unchanged=1), dry_run=True)
    assert idle.startswith("A run would find nothing to do.") and "Next:" not in idle


def test_a_run_that_found_nothing_to_do_tells_no_figures_of_work() -> None:
    """But what a person should read is always there, harmless."""
    account = Accounting(listed=1, unchanged=1, version=3, seconds=0.2, messages=["docs: \x1b[31mlook"])
    shown = accounting(account)
    assert shown.startswith("Complete: nothing to change since version 3.")
    assert "chunk" not in shown and "token" not in shown
    assert "\nNote: docs:  [31mlook" in shown


def test_what_an_earlier_run_embedded_is_no_speed_of_this_one() -> None:
    """The rate is of what was embedded now, and what was taken over is named."""
    resumed = Accounting(listed=1, indexed=1, chunks=68, tokens=20_088, taken_over_tokens=20_000, seconds=0.8)
    assert "68 chunks, 20,088 tokens (20,000 of them taken over), 0.8 s\n" in accounting(resumed) + "\n"
    resumed.embedded_tokens, resumed.tokens_per_second = 88, 100.0
    assert "0.8 s, 88 tokens embedded at 100 tokens/s" in accounting(resumed)


def test_a_moment_of_embedding_is_no_rate() -> None:
    """Nothing is said of a speed that was measured over less than half a second."""
    assert (rate(20_088, 0.018), rate(0, 0.0), rate(1000, 0.5)) == (0.0, 0.0, 2000.0)


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6), st.integers(-3, 3))
def test_an_account_that_does_not_add_up_is_an_error(counts: list[int], off: int) -> None:
    """Every listed document is in exactly one state."""
    account = Accounting(**dict(zip(STATES, counts, strict=True)), listed=sum(counts) + off)
    if off:
        with pytest.raises(Unbalanced):
            account.check()
    else:
        account.check()


def test_hits_show_rank_score_place_and_passage() -> None:
    """Wrapped to the width."""
    shown = render.hits([hit("word " * 60)], width=50)
    lines = shown.splitlines()
    assert lines[0] == "1. 0.5123  docs/a.pdf (page 3)"
    assert lines[1] == "   Chapter › Part"
    assert all(len(line) <= 50 for line in lines)
    assert render.hits([]).startswith("Nothing found")


@given(st.text())
def test_no_document_can_drive_the_terminal(text: str) -> None:
    """Whatever a document, its name or its failure says."""
    shown = render.hits([hit(text, uri=text)])
    state = DocState(text, "s", "failed", reason=text, detail=text)
    shown += render.failures([state], 0.0) + render.findings([Finding(text, text, text)])
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_many_findings_of_one_kind_on_one_replica_are_one_line() -> None:
    """Unless all are wanted; a few are said one by one, and the count is that of all."""
    many = [Finding("s3://b/0", f"blob {n} is missing", "penstock repair", "blob") for n in range(59)]
    few = [Finding("s3://b/1", f"blob {n} is missing", "penstock repair", "blob") for n in range(render.ALIKE)]
    first, *lines = render.findings([*many, *few]).splitlines()
    assert first == "64 things wrong:" and len(lines) == 2 + 2 * len(few)
    assert lines[0] == "- s3://b/0: blob 0 is missing, and 58 more blob findings (-v lists them)"
    assert len(render.findings([*many, *few], every=True).splitlines()) == 1 + 2 * 64


def test_a_failure_says_when_it_is_tried_again() -> None:
    """A rejected one waits for a change."""
    states = [
        DocState("s/a", "s", "failed", reason="unreadable", attempts=2, next_try=160.0),
        DocState("s/b", "s", "failed", reason="unreadable", attempts=1, next_try=50.0),
        DocState("s/c", "s", "rejected", reason="encrypted", attempts=1),
    ]
    _, *rows = render.failures(states, 100.0).splitlines()
    assert "in 1 min 0 s" in rows[0]
    assert "next run" in rows[1]
    assert "when it changes" in rows[2]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    """Never 7500.0."""
    assert render.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (3e12, "3.0 TB")]
)
def test_sizes_are_said_as_people_say_them(number: float, said: str) -> None:
    """Decimal units, one digit."""
    assert render.size(number) == said
