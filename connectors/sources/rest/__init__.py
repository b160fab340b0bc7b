"""`rest`: any paginated JSON API, described in the configuration. docs/sources/rest.md is its guide."""

from __future__ import annotations

from penstock.connectors.connector import Tools
from penstock.connectors.sources.rest.options import RestOptions
from penstock.connectors.sources.rest.source import FedRestSource, RestSource


class RestConnector:
    name = "rest"
    version = "rest/1"
    options = RestOptions

    def open(self, name: str, options: RestOptions, tools: Tools) -> RestSource:
        """The source; with a changes feed if a collection has `changes`. Asks nobody anything yet."""
        fed = any(collection.changes for collection in options.collections)
        return (FedRestSource if fed else RestSource)(name, options, tools)


CONNECTOR = RestConnector()
