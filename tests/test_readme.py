"""The README does not promise what is not there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from penstock.flows.cli import build_parser
from tests.flows.conftest import World

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
COMMANDS = [
    line[2:].split("   ")[0] for page in PAGES for line in page.read_text("utf-8").splitlines() if line[:2] == "$ "
]


@pytest.mark.parametrize("line", sorted({line for line in COMMANDS if line.startswith("penstock ")}))
def test_every_command_of_the_docs_is_understood(line: str) -> None:
    """What a page tells a reader to type, the command line takes."""
    assert build_parser().parse_args(shlex.split(line.split("#")[0])[1:]).command


@pytest.mark.parametrize("line", sorted({line for line in COMMANDS if line.startswith("make ")}))
def test_every_make_target_of_the_docs_is_there(line: str) -> None:
    """`make X` is a target of the Makefile."""
    target = shlex.split(line.split("#")[0])[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_quick_start_is_two_commands() -> None:
    """A newcomer types two things."""
    block = README.split("## Quick start")[1].split("```console")[1].split("```")[0]
    assert [line.split()[1:3] for line in block.strip().splitlines()] == [["make", "demo"], ["make", "test"]]


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet works as it stands, given vectors."""
    world = World(tmp_path, monkeypatch)
    world.write("a.txt", "alpha")
    world.home = world.docs.parent / ".penstock"
    world.ingest()
    snippet = README.split("```python")[1].split("```")[0]
    found: dict[str, object] = {"vectors": world.encoder.encode_queries(["alpha"]).astype(np.float32)}
    exec(snippet, found)  # the README is ours
    assert found["hits"][0][0].uri == "docs/a.txt"  # type: ignore[index]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link points at a file that exists."""
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_extras_of_the_readme_are_those_of_the_metadata() -> None:
    """Every extra that the README names can be installed."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"penstock\[(\w+)\]", README)) <= set(extras)
