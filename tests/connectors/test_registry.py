"""Kinds of source: built in, or from packages that somebody installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.connectors import registry
from penstock.connectors.registry import NoConnector, connector, names
from tests.connectors.tools import tools


def install(folder: Path, package: str, entry: str, code: str) -> None:
    """As pip leaves it: a module and its metadata."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[penstock.connectors]\n{entry}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.connector.cache_clear()
    yield tmp_path
    registry.connector.cache_clear()
    for name in ("far_away", "broken_away"):
        sys.modules.pop(name, None)


GOOD = """
from penstock.connectors.connector import SourceOptions
class Options(SourceOptions, frozen=True, kw_only=True):
    where: str
    def binding(self): return self.where
class Away:
    name, version, options = "away", "away/3", Options
    def open(self, name, options, tools): return (name, options)
CONNECTOR = Away()
"""


@pytest.mark.parametrize("name", ["files", "mediawiki", "objects", "rest", "sql"])
def test_what_is_built_in_is_what_it_says(name: str) -> None:
    """Its name and version, and the type of its options."""
    found = connector(name)
    assert found.name == name and found.version.startswith(f"{name}/")
    assert found.options.__struct_config__.forbid_unknown_fields


def test_an_installed_package_adds_a_kind_of_source(site: Path) -> None:
    """By an entry point; its options are typed like those of any other."""
    install(site, "far_away", "away = far_away:CONNECTOR", GOOD)
    assert "away" in names()
    found = connector("away")
    assert found.version == "away/3"
    assert found.options(where="there").binding() == "there"  # type: ignore[call-arg]


def test_a_package_cannot_take_the_place_of_what_is_built_in(site: Path) -> None:
    """Or an installation could change what a configuration means."""
    install(site, "far_away", "files = far_away:CONNECTOR", GOOD)
    assert connector("files").version.startswith("files/")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import a_module_that_is_not_there", "broken_away"),
        ("CONNECTOR = object()", "it has no name, version, options, open"),
        ("raise RuntimeError('out of order')", "out of order"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(site: Path, code: str, said: str) -> None:
    """One line: which package, what is wrong."""
    install(site, "broken_away", "away = broken_away:CONNECTOR", code)
    with pytest.raises(NoConnector, match=said) as caught:
        connector("away")
    assert "broken_away" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_kind_names_those_that_are_there() -> None:
    """So that nobody has to look them up."""
    with pytest.raises(NoConnector, match="files, mediawiki, objects, rest, sql"):
        connector("wiki")


def test_the_connector_of_the_docs_works(site: Path) -> None:
    """As it stands in docs/sources/README.md."""
    page = (Path(__file__).parents[2] / "docs" / "sources" / "README.md").read_text("utf-8")
    install(site, "far_away", "notes = far_away:CONNECTOR", page.split("```python")[1].split("```")[0])
    found = connector("notes")
    options = found.options(url="http://127.0.0.1/api", token="${TOKEN}")  # type: ignore[call-arg]
    source = found.open("mine", options, tools(site, secrets={"${TOKEN}": "hush-hush"}))
    assert source.name == "mine" and options.binding() == "http://127.0.0.1/api"
