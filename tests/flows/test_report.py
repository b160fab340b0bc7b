"""`status` opens with the worst thing and the next command; `sources` and `failures` say what the index holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.flows import cli, wiring
from penstock.flows import home as homes
from penstock.flows.report import ReplicaStatus, status
from penstock.flows.settings import load
from penstock.index.delta import Delta
from penstock.index.types import DocState, DocText, Row, SourceState


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real index: two indexed documents, one rejected, one failed, of the source `docs`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    made = homes.create(tmp_path / "home")
    uris = ["docs/a", "docs/b"]
    states = [DocState(uri, "docs", "indexed", version="1", chunks=1, tokens=3) for uri in uris]
    states.append(DocState("docs/c", "docs", "rejected", reason="empty"))
    states.append(DocState("docs/d", "docs", "failed", reason="unreadable", attempts=2))
    with wiring.open_writer(load(None), made, lambda line: None) as writer:
        writer.commit(
            Delta(
                0,
                states,
                vectors=np.eye(2, dtype=np.float32),
                rows=lambda: (Row(f"id-{uri[-1]}", uri, "text", 0, 4, 3) for uri in uris),
                texts=lambda: (DocText(uri, "sha", "text") for uri in uris),
                sources={"docs": SourceState("docs", "files", str(tmp_path / "docs"))},
                identity={"weights": "w"},
                dim=2,
            )
        )
    return made.path


def asked(home: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*words, "--home", str(home), "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_failed_documents_come_first_once_all_replicas_are_well(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the figures of the manifest, and a warning that both replicas are on one disk."""
    shown = asked(home, capsys, "status")
    assert shown["verdict"] == "Incomplete: failed documents (1) are tried again by the next run."
    assert shown["next"] == f"penstock failures --home {home}"
    figures = [shown[key] for key in ("version", "documents", "chunks", "failed", "rejected")]
    assert figures == [1, 2, 2, 1, 1]
    assert "on one disk" in shown["warnings"][0]


def test_a_lost_replica_comes_before_a_failed_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is no reason for `status` itself to fail; the loss of all of them is."""
    shutil.rmtree(home / "replicas" / "1")
    shown = asked(home, capsys, "status")
    assert shown["verdict"].startswith("Under-replicated: replica 1 is gone.")
    assert shown["documents"] == 2
    shutil.rmtree(home / "replicas")
    assert not asked(home, capsys, "status", code=3)["healthy"]
    assert asked(home, capsys, "sources", "list", code=3)["error"]["code"] == "unavailable"


def test_failures_are_listed_by_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown source is a wrong command line, not an empty answer."""
    found = asked(home, capsys, "failures", "--source", "docs")["failures"]
    assert [(one["uri"], one["status"], one["reason"]) for one in found] == [
        ("docs/c", "rejected", "empty"),
        ("docs/d", "failed", "unreadable"),
    ]
    assert "it knows docs" in asked(home, capsys, "failures", "--source", "no", code=2)["error"]["message"]


def test_a_source_that_moved_is_bound_anew_by_name_or_by_where_it_was(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one commit that touches no document; binding it to where it is changes nothing."""
    old, new = home.parent / "docs", home.parent / "moved"
    old.rename(new)
    assert asked(home, capsys, "sources", "list")["sources"][0]["there"] is False
    assert asked(home, capsys, "sources", "rebind", str(old), str(new))["version"] == 2
    assert asked(home, capsys, "sources", "rebind", "docs", str(new))["version"] == 2
    assert asked(home, capsys, "sources", "list")["sources"][0]["binding"] == str(new)
    assert asked(home, capsys, "status")["documents"] == 2
    asked(home, capsys, "sources", "rebind", "docs", str(old), code=2)
    asked(home, capsys, "sources", "rebind", "unknown", str(new), code=2)


def test_a_source_is_removed_with_its_documents_only_when_confirmed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes and without a terminal nothing happens."""
    asked(home, capsys, "sources", "remove", "docs", code=2)
    assert asked(home, capsys, "status")["documents"] == 2
    assert asked(home, capsys, "sources", "remove", "docs", "--yes")["deleted"] == 4
    assert asked(home, capsys, "sources", "list")["sources"] == []
    assert asked(home, capsys, "status")["documents"] == 0
    assert asked(home, capsys, "failures")["failures"] == []


def test_verify_finds_a_flipped_byte_and_search_of_another_model_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit codes 1 and 2."""
    monkeypatch.setattr(wiring, "encoder", lambda settings: None)
    monkeypatch.setattr("penstock.embed.models.model_identity", lambda name: {"weights": "other"})
    refused = asked(home, capsys, "search", "hello", code=2)["error"]
    assert "another model" in refused["message"] and "weights" in refused["message"]
    assert asked(home, capsys, "verify") == {"ok": True, "findings": []}
    blob = next(path for path in sorted((home / "replicas/0/blobs").rglob("*")) if path.is_file())
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    found = asked(home, capsys, "verify", code=1)
    assert not found["ok"] and found["findings"][0].keys() == {"where", "what", "remedy"}


def test_too_few_replicas_stop_writing(tmp_path: Path) -> None:
    """A replica that is there but fails is not rebuilt by itself."""
    replicas = [
        ReplicaStatus("0", str(tmp_path), True, 3, 10),
        ReplicaStatus("1", str(tmp_path), False, 0, 0, "read-only"),
    ]
    found = status(tmp_path, None, replicas, 2, tmp_path / "spool")
    assert found.verdict.startswith("Writing is stopped: replica 1")
    assert found.warnings == ["replica 1: read-only"]
