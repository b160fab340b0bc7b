"""The bundled documents are what the demo promises: every format, and a few that cannot be read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "examples" / "documents"


@pytest.fixture
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_make", ROOT / "examples" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_format_is_there_and_all_is_small() -> None:
    """Under 100 kB, so that nobody minds them in a clone."""
    files = [path for path in DOCUMENTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".md", ".txt", ".html", ".docx", ".pdf"}
    assert sum(path.stat().st_size for path in files) < 100_000


def test_the_committed_files_are_what_the_script_makes(make: ModuleType, tmp_path: Path) -> None:
    """But for the encrypted PDF and the DOCX, which hold a salt and dates."""
    make.main(tmp_path)
    for name in ("capacity-planning.pdf", "damaged.pdf", "empty.txt", "betrieb.txt"):
        assert (tmp_path / name).read_bytes() == (DOCUMENTS / name).read_bytes(), name


def test_the_handwritten_pdf_reads_page_by_page() -> None:
    """By a parser that is not ours."""
    from pypdf import PdfReader

    pages = PdfReader(DOCUMENTS / "capacity-planning.pdf").pages
    assert [page.extract_text().splitlines()[0] for page in pages] == [
        "Capacity planning for a document pipeline",
        "How much disk an index needs",
    ]


def test_one_file_is_encrypted_one_damaged_one_empty_one_not_utf8() -> None:
    """So the accounting of the demo has something to tell."""
    from pypdf import PdfReader

    assert PdfReader(DOCUMENTS / "confidential.pdf").is_encrypted
    assert not (DOCUMENTS / "damaged.pdf").read_bytes().rstrip().endswith(b"%%EOF")
    assert (DOCUMENTS / "empty.txt").read_bytes() == b""
    with pytest.raises(UnicodeDecodeError):
        (DOCUMENTS / "betrieb.txt").read_text("utf-8")
