"""The examples of `examples/sources/`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from penstock.connectors.sources.rest import CONNECTOR

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "sources").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_configuration_that_is_understood(path: Path) -> None:
    """As far as that can be told without asking the API."""
    (source,) = tomllib.loads(path.read_text())["sources"].values()
    assert source.pop("type") == "rest"
    source.pop("budget")
    options = msgspec.convert(source, CONNECTOR.options)
    assert options.binding().startswith("https://")
