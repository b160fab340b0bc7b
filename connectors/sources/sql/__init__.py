"""`sql`: rows of any database that SQLAlchemy knows, one query for each kind of document. docs/sources/sql.md."""

from __future__ import annotations

from penstock.connectors.connector import Connector, SourceOptions, Tools
from penstock.connectors.sources.sql.options import SqlOptions
from penstock.connectors.types import Source


class _Sql:
    name = "sql"
    version = "sql/1"
    options: type[SourceOptions] = SqlOptions

    def open(self, name: str, options: SqlOptions, tools: Tools) -> Source:
        """The source; with a changes feed if a kind has `updated`. Asks nobody anything yet."""
        from penstock.connectors.sources.sql.source import FedSqlSource, SqlSource  # SQLAlchemy is slow to load

        fed = any(kind.updated for kind in options.kinds)
        return (FedSqlSource if fed else SqlSource)(name, options, tools)


CONNECTOR: Connector = _Sql()
