"""What PostgreSQL is told in each transaction, and dates that Python has no room for."""

from __future__ import annotations

from typing import Any


def told(milliseconds: int) -> list[str]:
    """That it only reads, how long it may take, and to write moments in the one way that drivers read."""
    return [
        "SET TRANSACTION READ ONLY",
        f"SET LOCAL statement_timeout = {milliseconds}",
        "SET LOCAL datestyle = 'ISO'",
        "SET LOCAL intervalstyle = 'postgres'",
    ]


def load_any_date(psycopg: Any, connection: Any) -> None:
    """`infinity` and years beyond 9999 become text, on this connection: one such row must not stop all others."""
    kinds = psycopg.types.datetime
    for name, strict in (
        ("date", kinds.DateLoader),
        ("timestamp", kinds.TimestampLoader),
        ("timestamptz", kinds.TimestamptzLoader),
    ):
        connection.adapters.register_loader(name, _lenient(strict, psycopg.DataError))


def _lenient(strict: Any, refused: type[Exception]) -> Any:
    class Lenient(strict):  # type: ignore[misc]
        def load(self, data: Any) -> Any:
            try:
                return super().load(data)
            except refused:
                return bytes(data).decode()

    return Lenient
