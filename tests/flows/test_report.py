"""`status` opens with the worst thing and the next command; `sources` and `failures` say what the index holds."""

from __future__ import annotations

import builtins
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.flows import cli, model_wiring, wiring
from penstock.flows.answers import render, steps
from penstock.flows.answers.health import look
from penstock.flows.answers.report import ReplicaStatus, status
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.spools.spool import Shard, ShardWriter, closed
from penstock.index.blobs import blob
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log
from penstock.index.commits.delta import Delta
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.stores.store import LocalStore
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
    assert "share one disk" in shown["warnings"][0]


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
    monkeypatch.setattr(model_wiring, "encoder", lambda settings: None)
    monkeypatch.setattr("penstock.embed.models.identity", lambda model: {"weights": "other"})
    refused = asked(home, capsys, "search", "hello", code=2)["error"]
    assert "another model" in refused["message"] and "weights" in refused["message"]
    assert asked(home, capsys, "verify") == {"ok": True, "findings": []}
    blob = next(path for path in sorted((home / "replicas/0/blobs").rglob("*")) if path.is_file())
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    found = asked(home, capsys, "verify", code=1)
    assert not found["ok"] and found["findings"][0].keys() == {"where", "what", "remedy", "kind"}


def test_too_few_replicas_stop_writing(tmp_path: Path) -> None:
    """A replica that is there but fails is not rebuilt by itself."""
    replicas = [
        ReplicaStatus("0", str(tmp_path), True, 0, 10),
        ReplicaStatus("1", str(tmp_path), False, 0, 0, "read-only"),
    ]
    found = status(tmp_path, None, replicas, 2, tmp_path / "spool")
    assert found.verdict.startswith("Writing is stopped: replica 1")
    assert found.warnings == ["replica 1: read-only"]


def test_while_no_replica_can_be_reached_the_figures_are_unknown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None, and the catalog's version while that is known; verify would know no more, so it is not advised."""
    (home / "replicas").rename(home / "away")
    shown = asked(home, capsys, "status", code=3)
    assert [shown[key] for key in ("version", "documents", "chunks", "failed", "rejected")] == [1, *[None] * 4]
    assert shown["next"] == f"bring a replica back, then penstock status --home {home}"
    assert cli.main(["status", "--home", str(home)]) == 3
    assert "1 (says the catalog)" in capsys.readouterr().out
    away = [ReplicaStatus("0", "s3://b/p", False, 0, 0, "no answer", False)]
    found = status(home, None, away, 1, home / "spool")
    assert (found.version, found.documents) == (None, None) and "unknown" in render.status(found, 0.0)


def test_a_replica_that_lacks_nothing_lacks_nothing(home: Path) -> None:
    """Away is not behind."""
    replicas = [ReplicaStatus("0", str(home), True, 1, 10), ReplicaStatus("1", "s3://b/p", False, 1, 0, "", False)]
    with wiring.open_reader(load(None), homes.require(home), lambda line: None) as reader:
        found = status(home, reader.manifest, replicas, 1, home / "spool")
    assert found.verdict == "Under-replicated: replica 1 cannot be reached; writing goes on."


def test_a_catalog_that_does_not_answer_is_not_for_verify_to_mend(
    well: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its server refuses is said, and that it must answer first."""

    def silent(_: Catalog) -> None:
        raise Unavailable("catalog postgresql://h/d cannot be used (connection refused): see that the server runs")

    monkeypatch.setattr(Catalog, "meta", silent)
    shown = asked(well, capsys, "status")
    assert shown["verdict"].startswith("Writing is stopped: catalog postgresql://h/d cannot be used")
    assert shown["next"].startswith("see that the catalog answers, then penstock status --home")


def test_the_remedies_of_verify_are_typed_for_this_home(well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the next line of every other command."""
    (well / "replicas/0/replica.json").unlink()
    shutil.rmtree(well / "replicas/1")
    remedies = [finding["remedy"] for finding in asked(well, capsys, "verify", code=1)["findings"]]
    assert remedies[1] == f"penstock repair --home {well}"
    assert f"if it is lost, penstock repair --home {well}, or any ingest," in remedies[0]


def test_repair_names_each_blob_only_when_asked_to(well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for a replica says how many they were."""
    for options, number in (([], 0), (["-v"], 1)):
        flip(manifest_of(well / "replicas" / "0"))
        capsys.readouterr()
        assert cli.main(["repair", "--home", str(well), *options]) == 0
        err = capsys.readouterr().err
        assert (err.count("put again"), err.count("replica 0 is whole again: 1 blobs")) == (number, 1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.fixture
def well(home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """An index of which `status` has nothing to say but that it is healthy."""
    with wiring.open_writer(load(None), homes.require(home), lambda line: None) as writer:
        writer.commit(Delta(1, [DocState("docs/d", "docs", "rejected", reason="empty")]))
    shown = asked(home, capsys, "status")
    assert shown["verdict"] == "Healthy: version 2 is on all 2 replicas." and shown["healthy"]
    return home


@pytest.mark.parametrize("what", ["replica.json", "epochs/*", "log/*"])
def test_damage_that_keeps_a_replica_from_being_written_is_seen(
    what: str, well: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flipped byte in its marker, its epoch or its newest log record; reading goes on."""
    flip(max((well / "replicas" / "0").glob(what)))
    shown = asked(well, capsys, "status")
    assert shown["verdict"] == "Writing is stopped: replica 0 is damaged (reading goes on)."
    assert not shown["healthy"] and shown["next"].startswith("penstock repair")
    assert [replica["writable"] for replica in shown["replicas"]] == [False, True]
    assert "damaged" in shown["warnings"][0]


def manifest_of(replica: Path) -> Path:
    store = LocalStore(replica, token=wiring.token)
    newest = log.newest(store)
    assert newest is not None
    return replica / blob.key(newest.manifest)


@pytest.mark.parametrize("lost", [False, True])
def test_a_bad_copy_of_the_newest_manifest_is_seen(lost: bool, well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damaged or missing; once no good copy is left, the version before is served, and that is said."""
    for replica in ("0", "1"):
        path = manifest_of(well / "replicas" / replica)
        if lost:
            path.unlink()
        else:
            flip(path)
        if replica == "0":
            shown = asked(well, capsys, "status")
            assert shown["verdict"].startswith("Damaged: replica 0,") and not shown["healthy"]
            assert shown["next"].startswith("penstock repair")
    assert asked(well, capsys, "status")["verdict"].startswith("Damaged: version 2 is good on no replica; version 1 is")


@pytest.mark.parametrize(
    ("state", "said"),
    [("removed", "is gone"), ("damaged", "is damaged"), ("rolled back", "does not know version 2")],
)
def test_a_catalog_that_is_lost_is_no_obstacle(
    state: str, said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next ingest makes it again, and then `status` has nothing to say of it; looking makes no file."""
    catalog = home / "catalog.db"
    before = catalog.read_bytes()
    with wiring.open_writer(load(None), homes.require(home), lambda line: None) as writer:
        writer.commit(Delta(1, [DocState("docs/d", "docs", "rejected", reason="empty")]))
    if state == "removed":
        catalog.unlink()
    else:
        catalog.write_bytes(before if state == "rolled back" else b"not a database " * 999)
    files = sorted(path.name for path in home.iterdir())
    shown = asked(home, capsys, "status")
    assert shown["verdict"].startswith("Recoverable: the catalog ") and said in shown["verdict"]
    assert shown["documents"] == 2 and not shown["healthy"] and shown["next"].startswith("penstock ingest --home")
    assert "the next ingest makes it again" in " ".join(shown["warnings"])
    assert sorted(path.name for path in home.iterdir()) == files
    with wiring.open_writer(load(None), homes.require(home), lambda line: None):
        pass
    assert asked(home, capsys, "status")["healthy"]


def test_a_lost_catalog_and_too_few_replicas_stop_writing(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one replica says is not enough where one alone may have what was acknowledged."""
    (home / "replicas" / "2").mkdir()
    catalog = home / "catalog.db"
    config = tmp_path / "three.toml"
    config.write_text(f'home = "{home}"\n[index]\nreplicas = 3\n')
    shutil.rmtree(home / "replicas" / "2")
    assert cli.main(["--config", str(config), "replica", "add", "2"]) == 0
    assert cli.main(["--config", str(config), "replica", "quorum", "2"]) == 0
    catalog.unlink()
    for gone in ("0", "1"):
        (home / "replicas" / gone / "replica.json").unlink()
    capsys.readouterr()
    assert cli.main(["--config", str(config), "status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "1 of the 2 replicas that are needed" in shown["verdict"]


def test_a_replica_without_its_marker_takes_no_part(well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be an empty mount point; one that belongs to another index stops every writer."""
    (well / "replicas" / "0" / "replica.json").unlink()
    shown = asked(well, capsys, "status")
    assert shown["verdict"].startswith("Writing is stopped: replica 0") and "penstock repair" in shown["next"]
    assert "without its marker" in shown["warnings"][0]
    shutil.copy(well / "replicas/1/replica.json", well / "replicas/0/replica.json")
    assert "another replica" in asked(well, capsys, "status")["verdict"]


def test_a_replica_that_went_back_takes_no_part(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An old copy that was put back must not bear witness."""
    shutil.copytree(home / "replicas/1", home.parent / "old")
    with wiring.open_writer(load(None), homes.require(home), lambda line: None) as writer:
        writer.commit(Delta(1, [DocState("docs/d", "docs", "rejected", reason="empty")]))
    shutil.rmtree(home / "replicas/1")
    shutil.move(home.parent / "old", home / "replicas/1")
    shown = asked(home, capsys, "status")
    assert shown["verdict"].startswith("Writing is stopped: replica 1") and "penstock repair" in shown["next"]
    assert "went back in time" in shown["warnings"][0]
    assert shown["under_replicated_bytes"] == shown["replicas"][1]["lacks_bytes"] > 0


def test_without_sqlalchemy_the_catalog_is_left_out(
    well: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base install can read, and says what it did not look at."""

    def without(name: str, *rest: Any) -> Any:
        if name == "penstock.index.catalog.catalog":
            raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")
        return imported(name, *rest)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    shown = asked(well, capsys, "status")
    assert shown["healthy"]
    assert "the catalog was not looked at: sqlalchemy is not installed" in " ".join(shown["warnings"])


@pytest.mark.parametrize(
    ("line", "said"), [("replicas = 3", "the configuration 0, 1, 2"), ("replicas = 1", "the configuration 0;")]
)
def test_settings_of_another_index_are_refused_as_ingest_refuses_them(
    line: str, said: str, well: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replica that never was is not one that is made again."""
    config = tmp_path / "other.toml"
    config.write_text(f"[index]\n{line}\n")
    shown = asked(well, capsys, "--config", str(config), "status")
    assert shown["verdict"].startswith("Writing is refused:") and said in shown["verdict"]
    assert "put" in shown["verdict"] and not shown["healthy"]
    with pytest.raises(WrongIndex):
        wiring.open_writer(load(config), homes.require(well), lambda line: None)


def test_another_write_quorum_is_refused_too(well: Path) -> None:
    """It is a part of what the index is."""
    settings, made = load(None), homes.require(well)
    with wiring.open_reader(settings, made, lambda line: None) as reader:
        for quorum, said in ((2, ""), (3, "penstock replica quorum 3")):
            found = look(wiring.stores(settings, made), reader.manifest, quorum, wiring.layout(settings, made).catalog)
            assert found.misconfigured.endswith(said) and bool(found.misconfigured) == bool(said)


def test_a_full_disk_is_no_replica_that_is_away(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything can be read; writing is stopped until there is room, and that is what is said."""
    from penstock.index.errors import NoSpace
    from penstock.index.stores.store import LocalStore

    def full(self: LocalStore) -> None:
        raise NoSpace(f"{self.root}: the disk is full; make room and run again")

    monkeypatch.setattr(LocalStore, "probe", full)
    shown = asked(home, capsys, "status")
    assert shown["verdict"].startswith("Writing is stopped: replica 0 is on a full disk: make room")
    assert shown["documents"] == 2 and shown["next"].startswith("penstock ingest")


def prepared(home: Path, source: str, *uris: str) -> Shard:
    """A prepared shard, held by this process as a living run holds it."""
    number = sum(1 for _ in (home / "spool").glob("shard-*"))
    writer = ShardWriter(home / "spool" / f"shard-{number}", source, "f")
    for uri in uris:
        row = Row("id", uri, "text", 0, 4, 3)
        writer.add(DocState(uri, source, "indexed", chunks=1), DocText(uri, "c", "text"), [(row, [101, 7, 102])])
    return closed(writer)


def test_work_that_a_living_run_holds_is_no_interruption(well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run is at work, and all is well; the same work that nobody holds was left behind by one."""
    shard = prepared(well, "docs", "docs/new")
    shown = asked(well, capsys, "status")
    assert shown["verdict"] == "Healthy: version 2 is on all 2 replicas; a run is at work." and shown["healthy"]
    shard.release()
    shown = asked(well, capsys, "status")
    assert shown["verdict"].startswith("Interrupted: a run of docs left prepared work behind") and not shown["healthy"]


def test_the_step_after_an_interruption_names_whose_work_it_was(well: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lone files are named one by one: `ingest adhoc` means nothing, and one of many would not take the rest over."""
    prepared(well, "adhoc", "adhoc/tmp/b c.txt", "adhoc/tmp/a.txt").release()
    assert asked(well, capsys, "status")["next"] == f"penstock ingest /tmp/a.txt '/tmp/b c.txt' --home {well}"
    prepared(well, "docs", "docs/new").release()
    assert asked(well, capsys, "status")["next"] == f"penstock ingest docs --home {well}"


@pytest.mark.parametrize(
    ("known", "configured", "ran", "opened"),
    [
        ((), (), "penstock ingest PATH", "penstock ingest PATH"),
        (("adhoc",), (), "penstock ingest PATH", "penstock repair"),
        (("adhoc", "docs"), (), "penstock ingest", "penstock ingest"),
        (("adhoc",), ("wiki",), "penstock ingest", "penstock ingest"),
    ],
)
def test_the_next_ingest_is_one_that_is_accepted(
    known: tuple[str, ...], configured: tuple[str, ...], ran: str, opened: str
) -> None:
    """Nothing but lone files: only their names would do, and what wants the index opened does without them."""
    assert (steps.ingest(known, configured), steps.reopened(known, configured)) == (ran, opened)


@pytest.mark.parametrize("lost", ["replicas/1", "catalog.db"])
def test_what_status_says_of_an_index_of_lone_files_mends_it(
    lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typed as it stands, it makes the replica, or the catalog, again."""
    made = homes.create(tmp_path / "home")
    with wiring.open_writer(load(None), made, lambda line: None) as writer:
        state = DocState("adhoc/tmp/a.txt", "adhoc", "rejected", reason="empty")
        writer.commit(Delta(0, [state], sources={"adhoc": SourceState("adhoc", "adhoc", "/")}, identity={"w": "w"}))
    path = made.path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shown = asked(made.path, capsys, "status")
    assert not shown["healthy"]
    words = shlex.split(shown["next"])
    assert words[:2] == ["penstock", "repair"] and cli.main(words[1:]) == 0
    assert asked(made.path, capsys, "status")["healthy"]
