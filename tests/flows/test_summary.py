"""The account of a run as its page in Prefect shows it."""

from __future__ import annotations

from penstock.flows.answers.summary import markdown, sentence
from penstock.flows.runs.accounting import Accounting


def test_the_table_adds_up_and_says_so() -> None:
    """Every state has a row, and the last row is their sum."""
    page = markdown(Accounting(listed=5, unchanged=2, indexed=2, rejected=1))
    assert "| indexed | 2 |" in page and "| **listed** | **5** | adds up |" in page


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
