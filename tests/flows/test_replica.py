"""Replicas come, go and move by a command each; whatever a kill left, the same command finishes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from penstock.flows import cli
from tests.flows.children import served, sound
from tests.flows.conftest import World


@pytest.fixture
def indexed(world: World) -> World:
    for number in range(6):
        world.write(f"{number}.txt", f"text number {number}")
    world.ingest()
    return world


def asked(world: World, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    given = [] if "--config" in words else ["--home", str(world.home)]
    assert cli.main([*words, *given, "--json"]) == code, capsys.readouterr()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_a_replica_is_added_moved_and_removed(
    indexed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each change is a commit, home.json follows, and the answers stay."""
    before = served(indexed.home)
    added = asked(indexed, capsys, "replica", "add", "2", str(tmp_path / "elsewhere"))
    assert (added["place"], added["write_quorum"], added["version"]) == (str(tmp_path / "elsewhere"), 2, 2)
    assert asked(indexed, capsys, "status")["verdict"] == "Healthy: version 2 is on all 3 replicas."
    assert asked(indexed, capsys, "replica", "replace", "0", str(tmp_path / "new"))["version"] == 3
    assert asked(indexed, capsys, "replica", "remove", "1")["write_quorum"] == 2
    listed = asked(indexed, capsys, "replica", "list")["replicas"]
    assert [(row["id"], row["place"]) for row in listed] == [
        ("0", str(tmp_path / "new")),
        ("2", str(tmp_path / "elsewhere")),
    ]
    shutil.rmtree(indexed.home / "replicas")
    indexed.write("more.txt", "one more")
    assert indexed.ingest().indexed == 1
    assert asked(indexed, capsys, "verify")["ok"]
    assert asked(indexed, capsys, "search", "text", "-k", "9")["hits"]
    assert len(served(tmp_path / "new")[0]) == len(before[0]) + 1


def test_the_quorum_is_changed_by_a_commit(indexed: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is no majority is refused, and changes nothing."""
    asked(indexed, capsys, "replica", "add", "2", "--write-quorum", "3")
    assert asked(indexed, capsys, "status")["write_quorum"] == 3
    assert asked(indexed, capsys, "replica", "quorum", "2")["version"] == 3
    assert asked(indexed, capsys, "status")["healthy"]
    refused = asked(indexed, capsys, "replica", "quorum", "1", code=2)["error"]["message"]
    assert "2 or more" in refused
    sound_by_command(indexed, capsys)


def sound_by_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(world, capsys, "verify") == {"ok": True, "findings": []}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "1", "elsewhere"], "replica replace 1 PLACE"),
        (["add", "a/b"], "letters"),
        (["add", "2", "ftp://x/y"], "s3://bucket/prefix"),
        (["add", "2", "s3://KEY:HUSH@bucket/x"], "environment"),
        (["add", "2", "home/replicas/0"], "is replica 0 already"),
        (["add", "2", "home/replicas/0/sub"], "own place"),
        (["add", "2", "home"], "own place"),
        (["replace", "1", "home/replicas/0/sub"], "own place"),
        (["replace", "1", "home/replicas/1/sub"], "own place"),
        (["add", "2", "s3:KEY:HUSH@bucket/x"], "s3://bucket/prefix"),
        (["add", "2", "s3://KEY:HU/SH@bucket/x?HUSH"], "environment"),
        (["remove", "7"], "has no replica 7; it has 0, 1"),
        (["replace", "7", "x"], "has no replica 7; it has 0, 1"),
        (["remove", "1", "--write-quorum", "2"], "choose from 1 to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_changes(
    words: list[str], said: str, indexed: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with the fix."""
    message = asked(indexed, capsys, "replica", *words, code=2)["error"]["message"]
    assert said in message and "HUSH" not in message
    assert not list(Path().glob("elsewhere")) and asked(indexed, capsys, "status")["version"] == 1
    sound(indexed.home)


def test_the_last_replica_stays(indexed: World, capsys: pytest.CaptureFixture[str]) -> None:
    """There would be no index without it."""
    asked(indexed, capsys, "replica", "remove", "1")
    assert "the last one" in asked(indexed, capsys, "replica", "remove", "0", code=2)["error"]["message"]


def test_the_file_decides_where_it_names_the_replicas(
    indexed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Edited first, it differs from the index, and the refusal names the command; then both agree."""
    config = tmp_path / "three.toml"
    places = [f"{indexed.home}/replicas/0", f"{indexed.home}/replicas/1", f"{tmp_path}/third"]

    def write(replicas: list[str]) -> None:
        config.write_text(f'home = "{indexed.home}"\n[index]\nreplicas = {replicas}\n')

    write(places)
    file = ("--config", str(config))
    refused = asked(indexed, capsys, "ingest", str(indexed.docs), *file, code=2)["error"]["message"]
    assert "penstock replica add 2" in refused
    shown = asked(indexed, capsys, "status", *file)
    assert shown["next"].startswith("penstock replica add 2") and "refused" in shown["verdict"]
    asked(indexed, capsys, "replica", "add", "2", str(tmp_path / "other"), *file, code=2)
    assert asked(indexed, capsys, "replica", "add", "2", *file)["place"] == f"{tmp_path}/third"
    assert asked(indexed, capsys, "status", *file)["healthy"]
    assert '"replicas"' not in (indexed.home / "home.json").read_text()
    assert "take it out" in asked(indexed, capsys, "replica", "remove", "2", *file, code=2)["error"]["message"]
    write(places[:2])
    assert asked(indexed, capsys, "replica", "remove", "2", *file)["write_quorum"] == 2
    assert asked(indexed, capsys, "status", *file)["healthy"]


def test_a_file_that_only_counts_the_replicas_is_told_what_to_write(
    indexed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line itself; with it the same command goes through."""
    config = tmp_path / "counted.toml"
    config.write_text(f'home = "{indexed.home}"\n[index]\nreplicas = 2\n')
    words = ("replica", "add", "2", str(tmp_path / "third"), "--config", str(config))
    message = asked(indexed, capsys, *words, code=2)["error"]["message"]
    line = message.split("write ", 1)[1].split(" under [index]")[0]
    config.write_text(f'home = "{indexed.home}"\n[index]\n{line}\n')
    assert asked(indexed, capsys, *words)["place"] == f"{tmp_path}/third"
    assert asked(indexed, capsys, "status", "--config", str(config))["healthy"]


def test_a_command_that_was_killed_before_it_was_remembered_is_finished_by_the_same(
    indexed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The index had the change, home.json not yet."""
    for words in (["add", "2", str(tmp_path / "two")], ["replace", "2", str(tmp_path / "three")], ["remove", "2"]):
        before = (indexed.home / "home.json").read_bytes()
        version = asked(indexed, capsys, "replica", *words)["version"]
        (indexed.home / "home.json").write_bytes(before)
        assert not asked(indexed, capsys, "status")["healthy"]
        assert asked(indexed, capsys, "replica", *words)["version"] == version
        assert asked(indexed, capsys, "status")["healthy"]
    sound(indexed.home)


def test_a_replica_whose_disk_is_gone_can_be_replaced_or_removed(
    indexed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It need not answer, and is not made again for that."""
    shutil.rmtree(indexed.home / "replicas/1")
    asked(indexed, capsys, "replica", "replace", "1", str(tmp_path / "new"))
    assert not (indexed.home / "replicas/1").exists()
    assert asked(indexed, capsys, "status")["healthy"]
    shutil.rmtree(tmp_path / "new")
    assert asked(indexed, capsys, "replica", "remove", "1")["write_quorum"] == 1
    assert asked(indexed, capsys, "status")["healthy"] and not (tmp_path / "new").exists()


def test_before_the_first_ingest_only_the_configuration_changes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to copy yet."""
    asked(world, capsys, "init")
    assert asked(world, capsys, "replica", "add", "2")["version"] == 0
    world.write("a.txt", "text")
    world.ingest()
    assert asked(world, capsys, "status")["verdict"] == "Healthy: version 1 is on all 3 replicas."
