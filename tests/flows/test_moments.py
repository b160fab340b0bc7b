"""Times and budgets as people type them."""

from __future__ import annotations

import pytest

from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.moments import budget, moment, period, window

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        (None, None),
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00", 3_600.0),
        ("1970-01-01T01:00Z", 3_600.0),
        ("1970-01-01T01:00+01:00", 0.0),
        ("7d", NOW - 7 * 86_400),
        ("1.5h", NOW - 5_400),
        ("2w", NOW - 14 * 86_400),
    ],
)
def test_a_moment_is_a_date_a_time_or_how_long_ago(word: str | None, seconds: float | None) -> None:
    """UTC where no zone is said."""
    assert moment("--since", word, NOW) == seconds


@pytest.mark.parametrize("word", ["yesterday", "", "7", "d7", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_an_example(word: str) -> None:
    """One line that says what to write."""
    with pytest.raises(UsageError, match=r"--until .*7d"):
        moment("--until", word, NOW)


@pytest.mark.parametrize(
    ("since", "until"), [("2026-02-01", "2026-01-01"), ("2026-02-01", "2026-02-01"), ("7d", "30d"), ("1h", "1h")]
)
def test_a_window_in_which_nothing_lies_is_refused(since: str, until: str) -> None:
    """A run that finds nothing to do would look as if all were well."""
    with pytest.raises(UsageError, match=f"--since {since} is not before --until {until}, so nothing lies between"):
        window(since, until, NOW, ("--since", "--until"))


def test_a_window_may_be_open() -> None:
    """On either side, or both."""
    assert window("7d", "1d", NOW) == (NOW - 7 * 86_400, NOW - 86_400)
    assert window(None, "1d", NOW) == (None, NOW - 86_400)
    assert window("7d", None, NOW) == (NOW - 7 * 86_400, None)


def test_longer_ago_than_a_century_is_no_moment() -> None:
    """No calendar shows it."""
    with pytest.raises(UsageError, match="more than 100 years ago"):
        moment("--since", "99999999999999d", NOW)


def test_a_budget_is_tokens_minutes_or_both() -> None:
    """With k and M for thousands and millions of tokens."""
    assert budget([]) == (None, None)
    assert budget(["tokens=2M", "minutes=1.5"]) == (2_000_000, 1.5)
    assert budget(["tokens=30_000"]) == (30_000, None)


@pytest.mark.parametrize("word", ["tokens", "tokens=-1", "minutes=3k", "minutes=0", "euros=3", "tokens=2G"])
def test_what_is_no_budget_is_refused_with_an_example(word: str) -> None:
    """A budget that is read wrongly would cost money."""
    with pytest.raises(UsageError, match="--budget"):
        budget([word])


@pytest.mark.parametrize("word", ["100000000000d", "99999999999999999999999d", "5300w"])
def test_a_period_that_no_calendar_has_is_refused(word: str) -> None:
    """It would be written, and no time that lies so far ahead can be shown."""
    with pytest.raises(UsageError, match=r"100 years.*--hold"):
        period("--keep-for", word)
    assert period("--keep-for", "36500d") == 36_500 * 86_400
