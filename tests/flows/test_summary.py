"""The account of a run as its page in Prefect shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows.answers.limits import limiting
from penstock.flows.answers.summary import markdown, sentence
from penstock.flows.runs.accounting import STATES, Accounting, Fresh, Shipment, SourceAccount
from penstock.flows.runs.by_source import BySource
from penstock.flows.runs.events import CommitLanded, DocumentPrepared, GaveWay, Listed, ReplicaLeftOut, SourceWaits
from penstock.flows.runs.story import SLOWEST, Story


def test_the_table_adds_up_and_says_so() -> None:
    """Every state has a row, and the last row is their sum."""
    page = markdown(Accounting(listed=5, unchanged=2, indexed=2, rejected=1))
    assert "| indexed | 2 |" in page and "| **listed** | **5** | adds up |" in page


def test_the_state_adds_up_too() -> None:
    """What the configuration left out is named where there is any."""
    assert "0 deferred, 4 filtered, 0 deleted, 0 withheld, of 5 listed" in sentence(
        Accounting(listed=5, indexed=1, filtered=4)
    )
    assert "filtered" not in sentence(Accounting(listed=1, indexed=1))


def test_a_table_that_does_not_add_up_says_that() -> None:
    """An account that is wrong is never shown as right."""
    assert "DOES NOT ADD UP" in markdown(Accounting(listed=5, unchanged=2))


def test_what_sources_cost_is_said() -> None:
    """Repeated requests by reason, what was not embedded again, sources that were not listed, and when it goes on."""
    page = markdown(
        Accounting(
            listed=1,
            failed=1,
            reasons={"failed": {"throttled": 1}},
            retries={"wiki": {"throttled": 7, "reset": 2}},
            reused_tokens=512,
            reused_chunks=2,
            reused_share=0.25,
            billed_tokens=77,
            unlisted=2,
            fetched=3,
            next_try=1_800_000_000.0,
        )
    )
    assert "| wiki | throttled | 7 |" in page and "| wiki | reset | 2 |" in page
    assert "512 not again" in page and "(25%, 2 chunks); 77 to be paid for;" in page and "3 documents fetched" in page
    assert "Sources not listed: 2." in page and "due at 2027-01-15 08:00:00 UTC" in page


def test_hostile_names_are_no_markup() -> None:
    """What a file is called cannot break the table or make a link."""
    page = markdown(Accounting(messages=["x | y\n# <b>[click](http://evil)"]))
    assert "\n# " not in page.split("To be looked at")[1]
    assert "<b>" not in page and "\\[click" in page


def test_what_is_escaped_already_does_not_escape_the_escape() -> None:
    """A backslash before a bracket, an entity, code, a control character: all of it is text."""
    page = markdown(Accounting(messages=["a \\[x](javascript:alert(1)) &lt;b> `<i>` \x1b[31m ![y](z)"]))
    said = page.split("To be looked at")[1]
    assert "a \\\\\\[x\\](javascript" in said
    assert "&amp;lt;b&gt;" in said and "\\`&lt;i&gt;\\`" in said and "\x1b" not in said and "\\!\\[y" in said


def test_the_state_says_what_happened_in_one_line() -> None:
    """The message of the final state holds the figures that matter."""
    assert sentence(Accounting(listed=3, indexed=3, version=7)).startswith("version 7: 3 indexed")


def prepared(uri: str, seconds: float, status: str = "indexed", reason: str = "") -> DocumentPrepared:
    return DocumentPrepared("docs", uri, status, reason, "", 2048, seconds)


def test_the_page_tells_what_a_person_asks_after_a_run() -> None:
    """Slow documents, who was waited for, what gave way, replicas, freshness; a part without anything is left out."""
    story = Story()
    for number in range(40):
        story(prepared(f"docs/{number}.pdf", float(number)))
    story(SourceWaits("wiki", "it asks everybody to wait", 40.0, False))
    story(GaveWay("cuda:0", 12.0, True))
    story(ReplicaLeftOut("b", "the disk is gone"))
    account = Accounting(
        version=7,
        replicas={"a": 7, "b": 5},
        ship={"s3://dr": Shipment(version=6)},
        freshness={"wiki": Fresh(as_of=1_800_000_000.0, objective=3600.0, breached_since=1_800_003_600.0)},
    )
    page = markdown(account, story, 1_800_007_200.0)
    slow = page.split("## Slowest documents")[1].split("##")[0]
    assert slow.count("docs/") == SLOWEST and slow.index("docs/39.pdf") < slow.index("docs/30.pdf")
    assert "docs/29.pdf" not in slow and "| 39.0 |" in slow
    assert "cuda:0 was given to something more urgent once, for 12.0 s; once our model made its vectors." in page
    assert "wiki: nobody was to ask it, once, for 40.0 s altogether" in page
    assert "| a | version 7 | in step |" in page and "| b | version 5 | behind" in page and "the disk is gone" in page
    assert "**older than it may be**" in page and "2 h 0 min old, may be 1 h 0 min old" in page
    assert "## DR stores" in page
    empty = markdown(Accounting())
    assert [line for line in empty.splitlines() if line.startswith("## ")] == [
        "## What became of every document",
        "## Throughput",
    ]


@pytest.mark.parametrize(
    ("spent", "said"),
    [
        ({"prepare": 10.0, "embed": 90.0, "commit": 2.0}, "The device limits: it worked for 1 min 30 s"),
        ({"prepare": 80.0, "embed": 20.0, "commit": 2.0}, "Preparing limits: fetching and parsing took 1 min 20 s"),
        ({"prepare": 88.0, "embed": 90.0, "commit": 2.0}, "keep up with each other"),
        ({"prepare": 8.0, "embed": 9.0, "commit": 30.0}, "Committing limits"),
        ({"prepare": 0.2, "embed": 0.1, "load model": 3.0}, "Loading the model took 3.0 s"),
        ({}, ""),
    ],
)
def test_the_stage_that_limits_is_named_with_what_helps(spent: dict[str, float], said: str) -> None:
    """In one sentence: a person must not have to compare columns."""
    found = limiting(Accounting(stage_seconds=spent), Story())
    assert said in found and (found.count(". ") == 0)


def test_a_source_that_sets_the_pace_is_named() -> None:
    """More parsers would not help there."""
    story = Story()
    story(SourceWaits("wiki", "it asks everybody to wait", 40.0, False))
    assert "wiki let nobody ask for 40.0 s" in limiting(Accounting(stage_seconds={"prepare": 60, "embed": 5}), story)


HOSTILE = st.text(alphabet=st.sampled_from("ab|\\`[]()!<>&*_#~$\n\r\t\x1b\u202ehtps:/.@w"), max_size=40)


@given(HOSTILE)
def test_no_name_breaks_a_table_or_becomes_markup(name: str) -> None:
    """Whatever a file is called: each row has its columns, and nothing of it is a tag, a link or an image."""
    story = Story()
    story(prepared(f"docs/{name}", 1.0, "failed", name))
    page = markdown(Accounting(reasons={"failed": {name: 1}}, retries={name: {name: 2}}), story)
    (row,) = (line for line in page.splitlines() if line.startswith("| docs/"))
    plain = row.replace("\\\\", "")
    assert plain.count("|") - plain.count("\\|") == 5
    assert "<" not in page and "://" not in page and "\x1b" not in page
    assert plain.count("[") == plain.count("\\[") and plain.count("`") == plain.count("\\`")


COUNTS = st.integers(0, 50)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d"]),
        st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
        min_size=1,
    )
)
def test_what_is_told_by_source_adds_up_to_the_account(told: dict[str, tuple[int, ...]]) -> None:
    """What neither the listing nor a commit settled was deferred; the table says so if the sums differ."""
    listener, account = BySource(), Accounting()
    for source, (same, again, indexed, unchanged, failed, left, gone) in told.items():
        listed = same + again + indexed + unchanged + failed + left
        listener(Listed(source, listed, 0, gone, 0, 0, states={"unchanged": same, "rejected": again}))
        documents = {"indexed": indexed + unchanged, "failed": failed, "deleted": gone}
        listener(CommitLanded("s", source, 1, documents, unchanged=unchanged))
        account.listed += listed
        account.unchanged += same + unchanged
        account.rejected += again
        account.indexed += indexed
        account.failed += failed
        account.deferred += left
        account.deleted += gone
    account.check()
    account.sources = listener.accounts()
    for state in (*STATES, "listed", "deleted"):
        assert sum(getattr(one, state) for one in account.sources.values()) == getattr(account, state)
    assert "WHICH IS NOT THE ACCOUNT" not in markdown(account)
    assert ("## By source" in markdown(account)) == (len(told) > 1)


def test_a_table_by_source_that_is_not_the_account_says_so() -> None:
    """As the table of all documents does."""
    two = {"a": SourceAccount(listed=1, indexed=1), "b": SourceAccount()}
    assert "all, WHICH IS NOT THE ACCOUNT" in markdown(Accounting(listed=3, indexed=3, sources=two))
