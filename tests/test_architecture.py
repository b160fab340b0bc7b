"""The arrows of ARCHITECTURE.md: who may import whom, and which module is the door to which library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("connectors", "embed", "index", "flows")

TORCH = {
    f"embed/engine/{name}.py"
    for name in (
        "anatomy",
        "attention",
        "device",
        "encoder",
        "gpus",
        "lean",
        "linear",
        "ordinary",
        "packed",
        "pooling",
        "staging",
    )
}
DOORS = {
    "faiss": {"index/segments/faiss_door.py"},
    "sqlalchemy": {
        "index/catalog/catalog.py",
        "index/catalog/catalog_engine.py",
        "index/catalog/catalog_file.py",
        "index/catalog/catalog_schema.py",
        "index/catalog/cells.py",
        "connectors/sources/sql/engine.py",
        "connectors/sources/sql/faults.py",
        "connectors/sources/sql/queries.py",
    },
    "zstandard": {"index/blobs/table.py"},
    "obstore": {"connectors/sources/object_client.py", "index/stores/object_store.py"},
    "pyarrow": {"index/care/export.py"},
    "torch": TORCH,
    "sentence_transformers": {"embed/engine/encoder.py", "embed/engine/ordinary.py"},
    "transformers": {"embed/engine/encoder.py", "embed/engine/ordinary.py"},
    "tokenizers": {"embed/tokenize.py"},
    "huggingface_hub": {"embed/models.py"},
    "prefect": {
        "flows/deploying/applying.py",
        "flows/deploying/automations.py",
        "flows/deploying/deployed.py",
        "flows/deploying/heartbeat.py",
        "flows/ending.py",
        "flows/ingest.py",
        "flows/maintain.py",
        "flows/naming.py",
        "flows/reach.py",
        "flows/recover.py",
        "flows/requests.py",
        "flows/showing.py",
        "flows/sources/secrets.py",
        "flows/telling/board.py",
        "flows/telling/emit.py",
        "flows/watch.py",
    },
    "pydantic": {"flows/parameters.py"},
    "pypdf": {"connectors/parsers/pdf_pypdf.py"},
    "pypdfium2": {"connectors/parsers/pdf_pdfium.py"},
    "trafilatura": {"connectors/parsers/main_content.py"},
    "docx": {"connectors/parsers/docx.py"},
    "pptx": {"connectors/parsers/pptx.py"},
    "openpyxl": {"connectors/parsers/xlsx.py"},
    "markdown_it": {"connectors/parsers/markdown.py"},
    "lxml": {"connectors/parsers/tree.py"},
    "charset_normalizer": {"connectors/parsers/charset.py"},
    "prometheus_client": {"flows/metrics/exposition.py"},
    "pynvml": {"flows/metrics/gpu.py"},
    "httpx": {"flows/deploying/server_api.py", "flows/prefect_api.py", "connectors/http/asking.py"},
    "httpcore": {"connectors/http/network.py", "connectors/http/wire.py"},
    "tenacity": {"connectors/http/retrying.py"},
}


def imports() -> Iterator[tuple[str, str]]:
    """(module file, imported name) for every import in the four packages, wherever it stands in the file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    yield from ((name, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{name} imports relatively"
                    yield name, node.module or ""


def test_arrows_point_one_way() -> None:
    """connectors, embed and index import none of our packages but their own; flows imports all."""
    wrong = [
        (path, name)
        for path, name in imports()
        if name.startswith("penstock.") and not path.startswith("flows/") and name.split(".")[1] != path.split("/")[0]
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(DOORS))
def test_each_library_has_one_door(library: str) -> None:
    """Only its door imports a third-party library."""
    users = {path for path, name in imports() if name.split(".")[0] == library}
    assert users == DOORS[library]


@pytest.mark.parametrize("module", ["penstock.index", "penstock.flows.cli"])
def test_the_reader_and_the_command_line_start_light(module: str) -> None:
    """Importing the public API or the command line loads nothing heavy."""
    heavy = ("torch", "prefect", "sqlalchemy", "transformers", "faiss", "rich", "obstore", "pyarrow")
    script = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_packages_are_listed_for_the_build() -> None:
    """A folder with Python in it that setuptools does not know would be missing from the wheel."""
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        "penstock." + str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert listed == found
