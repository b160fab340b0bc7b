"""When something runs: what people write is understood, or refused before anything is deployed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas import schedules as server

from penstock.flows.config.schedules import Cron, Every, gap, schedule, words
from penstock.flows.config.settings import SettingsError, load

_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def items(least: int, most: int) -> st.SearchStrategy[str]:
    """One item of a field."""
    number = st.integers(least, most)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(st.one_of(st.just("*"), ranges), st.integers(1, most)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.one_of(st.just("*"), number.map(str), ranges, stepped)


crons = st.tuples(*(st.lists(items(*field), min_size=1, max_size=3).map(",".join) for field in _FIELDS)).map(" ".join)


@given(crons)
def test_what_is_taken_prefect_takes_as_well(said: str) -> None:
    """Nothing that the settings let pass is refused by the server."""
    try:
        found = schedule(said)
    except ValueError as wrong:
        assert "never comes" in str(wrong)
        return
    assert isinstance(found, Cron)
    assert CronSchedule(cron=found.expression).cron == found.expression


@pytest.mark.parametrize(
    "said",
    ["15 2 * * *", "*/5 * * * *", "0,50 * * * *", "0 22-2 * * *", "10/20 8-18/2 * * *", "0 0,12 * * *", "59 23 * * *"],
)
def test_the_gap_is_the_longest_between_two_times(said: str) -> None:
    """By Prefect's own reckoning, over several days."""
    kept = server.CronSchedule(cron=said, timezone="Etc/UTC")
    times = asyncio.run(
        kept.get_dates(n=1000, start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 3, 8, tzinfo=UTC))
    )
    longest = max((later - earlier).total_seconds() for earlier, later in pairwise(times))
    assert gap(schedule(said)) == longest


def test_what_skips_days_has_no_gap_that_can_be_promised() -> None:
    """Neither has what never runs by itself."""
    assert gap(schedule("0 * * * mon-fri")) == gap(schedule("none")) == inf
    assert schedule("none") is None


@pytest.mark.parametrize(("said", "seconds"), [("every 15m", 900), ("every 2h", 7200), (" every  90s ", 90)])
def test_an_interval_is_written_as_a_span_of_time(said: str, seconds: float) -> None:
    """And told as it is written."""
    assert schedule(said) == Every(seconds)
    assert schedule(words(schedule(said))) == Every(seconds)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "is no schedule"),
        ("nightly", "is no schedule"),
        ("@daily", "is no schedule"),
        ("15 2 * *", "is no schedule"),
        ("0 15 2 * * *", "is no schedule"),
        ("60 2 * * *", "the minute '60' is not from 0 to 59"),
        ("15 24 * * *", "the hour '24' is not from 0 to 23"),
        ("15 2 0 * *", "the day '0' is not from 1 to 31"),
        ("15 2 * foo *", "the month 'foo' is not from 1 to 12"),
        ("15 2 * * monday", "the weekday 'monday' is not from 0 to 7"),
        ("*/0 * * * *", "is empty"),
        ("1-2-3 * * * *", "cannot be read"),
        ("٣ * * * *", "cannot be read"),
        ("0 0 30 2 *", "never comes"),
        ("every day", "is no span of time"),
        ("every 0m", "is no span of time"),
        ("every 1s", "is too often"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_key(said: str, why: str, tmp_path: Path) -> None:
    """By every command, because the settings are read by every command; in one line that says what is wrong."""
    config = tmp_path / "penstock.toml"
    for table, key in (("[sources.wiki]\npath = '.'", "sources.wiki.schedule"), ("[prefect]", "prefect.schedule")):
        config.write_text(f'{table}\nschedule = "{said}"\n')
        with pytest.raises(SettingsError) as refused:
            load(config)
        assert str(refused.value).startswith(f"{config}: {key}: ") and why in str(refused.value)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", "UTC+2", "localtime", "posixrules"])
def test_a_time_zone_that_nobody_knows_is_refused(zone: str, tmp_path: Path) -> None:
    """With its key."""
    config = tmp_path / "penstock.toml"
    config.write_text(f'[prefect]\ntimezone = "{zone}"\n')
    with pytest.raises(SettingsError, match=r"prefect\.timezone: .* is no time zone"):
        load(config)
