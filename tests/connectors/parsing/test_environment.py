"""A parser process is told how to run, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.connectors.parsing.environment import parser_environment
from penstock.connectors.parsing.pool import ParserPool
from penstock.connectors.types import Document, Fetched
from tests import processes


def test_only_what_a_program_needs_to_run_is_passed_on() -> None:
    """By what is allowed: no list of secrets could be complete."""
    environ = {"PATH": "/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": "/p", "PENSTOCK_PARSER_OCR": "de"}
    secret = {"CRM_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "PGPASSWORD": "x", "PENSTOCK_CATALOG_PASSWORD": "x"}
    assert parser_environment(environ | secret) == environ


def test_a_parser_process_cannot_see_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its environment nor in its arguments, as the system shows them."""
    monkeypatch.setenv("CRM_TOKEN", "tok-4f9a77c1e0b25d63")
    (tmp_path / "a.txt").write_text("plain words")
    with ParserPool(1) as pool:
        assert isinstance(pool.parse(Fetched(tmp_path / "a.txt", "a.txt")), Document)
        seen = [
            processes.read(processes.PROC / str(each) / name)
            for each in processes.children()
            for name in ("environ", "cmdline")
        ]
    assert seen and any(b"parsing.worker" in each for each in seen)
    assert not any(b"4f9a77" in each for each in seen)
