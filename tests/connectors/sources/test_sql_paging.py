"""Any rows, any page size, any changes between two pages: what was there all the time is listed once, or is a gap."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.connectors.sources.sql import CONNECTOR
from penstock.connectors.sources.sql.values import named
from penstock.connectors.types import Gap, Gone, Item
from tests.fakes.tools import Kit

KEY = st.tuples(st.integers(0, 2), st.text(alphabet="aAbBé ", max_size=2))
CHANGE = st.tuples(st.booleans(), KEY)


def opened(folder: Path, size: int) -> Any:
    kind = {"name": "k", "table": "t", "key": ["a", "b"], "body": "{b}", "updated": "at"}
    options = {"url": f"sqlite:///{folder}/it.db", "page_size": size, "kinds": [kind]}
    return CONNECTOR.open("s", msgspec.convert(options, CONNECTOR.options).anchored(folder), Kit(folder / "x").tools)


@example(  # more rows than a page holds are equal to the database, and took turns for ever
    keys=[
        (0, "AB"),
        (2, "B "),
        (0, "ab"),
        (0, "b"),
        (2, ""),
        (0, "Ab"),
        (0, ""),
        (2, ""),
        (2, " "),
        (1, "ab"),
        (1, "b"),
    ],
    size=2,
    changes=[(False, (1, "b ")), (False, (0, "")), (True, (0, "")), (True, (2, "A")), (False, (0, ""))],
    every=3,
)
@settings(max_examples=100, deadline=None)
@given(
    keys=st.lists(KEY, max_size=12),
    size=st.integers(1, 5),
    changes=st.lists(CHANGE, max_size=8),
    every=st.integers(1, 4),
)
def test_what_stays_is_listed_once_or_is_a_gap(
    keys: list[tuple[int, str]], size: int, changes: list[tuple[bool, tuple[int, str]]], every: int
) -> None:
    """Keys that collate as equal, keys that two rows have, rows that come and go while they are listed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        db = sqlite3.connect(folder / "it.db", isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE t (a INTEGER, b TEXT COLLATE NOCASE, at TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?, '2020-01-01 00:00:00')", keys)
        script, entries = iter(changes), []
        touched = {key for _, key in changes}
        for number, entry in enumerate(opened(folder, size).list()):
            entries.append(entry)
            change = next(script, None) if number % every == 0 else None
            if change is not None:
                come, key = change
                gone = "DELETE FROM t WHERE a = ? AND b = ? COLLATE BINARY"
                db.execute("INSERT INTO t VALUES (?, ?, NULL)" if come else gone, key)
        db.close()
        listed = [each.uri for each in entries if isinstance(each, Item)]
        prefixes = tuple(each.uri_prefix for each in entries if isinstance(each, Gap))
        assert not any(isinstance(each, Gone) for each in entries)
        assert len(set(listed)) == len(listed)
        for key in keys:
            uri = f"s/k/{named(key)}"
            assert key in touched or uri in listed or uri.startswith(prefixes)
            assert keys.count(key) == 1 or key in touched or uri not in listed or uri.startswith(prefixes)
