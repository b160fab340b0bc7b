"""With a DR store, what is whole on no replica is no loss: real processes, three disasters at once, one command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import World
from tests.flows.test_damage import said
from tests.flows.test_kill import documents
from tests.flows.test_report import flip

CONFIG = '[snapshots]\nstore = "dr"\n'


@pytest.fixture
def shipped(world: World) -> Iterator[World]:
    """An ingest with a DR store that has all of it."""
    documents(world.docs, 12)
    (world.docs.parent / "penstock.toml").write_text(CONFIG)
    world.ingest(config="penstock.toml")
    yield world


def command(world: World, *words: str) -> tuple[int, str]:
    """A command as a process of its own: exit code, and all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock.flows.cli", *words, "--config", "penstock.toml", "--home", str(world.home)],
        capture_output=True,
        text=True,
        cwd=world.docs.parent,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def head_blobs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("blobs/*/*") if path.is_file())


def strike(world: World) -> None:
    """The catalog and one replica are gone, and every blob of the other has a byte flipped."""
    (world.home / "catalog.db").unlink()
    shutil.rmtree(world.home / "replicas/0")
    for path in head_blobs(world.home / "replicas/1"):
        flip(path)


def test_three_disasters_at_once_are_healed_by_one_repair(shipped: World) -> None:
    """It says what came from the DR store; verify is content afterwards, and every passage is there."""
    before = shipped.rows()
    strike(shipped)
    code, out = command(shipped, "repair")
    assert code == 0, out
    assert "Whole again." in out and "from a DR store" in out
    code, out = command(shipped, "verify")
    assert code == 0, out
    assert shipped.rows() == before


def test_the_next_ingest_alone_goes_on_and_embeds_nothing(shipped: World) -> None:
    """What it needs it reads from the DR store, makes the lost replica again, and says what is left to do."""
    before = shipped.rows()
    strike(shipped)
    account = shipped.ingest(config="penstock.toml")
    assert (account.indexed, account.unchanged) == (0, 12)
    assert shipped.rows() == before


def test_a_dr_store_that_is_away_is_named_and_nothing_is_given_up(
    shipped: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until it is back: then all of it is healed."""
    before = shipped.rows()
    for replica in ("0", "1"):
        for path in head_blobs(shipped.home / "replicas" / replica):
            flip(path)
    store = shipped.docs.parent / "dr"
    aside = store.rename(store.with_name("aside"))
    code, out = command(shipped, "repair")
    assert code == 3 and f"penstock repair --lost {store}" in out, out
    aside.rename(store)
    assert said(shipped, capsys, "repair", "--config", "penstock.toml")["ok"]
    assert said(shipped, capsys, "verify", "--config", "penstock.toml")["ok"]
    assert shipped.rows() == before


def test_a_dr_store_that_is_said_to_be_lost_is_not_waited_for(
    shipped: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it alone may have had is given up then, and embedded again."""
    damaged = largest(shipped.home / "replicas/0")
    for replica in ("0", "1"):
        flip(shipped.home / "replicas" / replica / damaged)
    store = shipped.docs.parent / "dr"
    shutil.rmtree(store)
    answer = said(shipped, capsys, "repair", "--config", "penstock.toml", code=1)
    assert list(answer["silent"]) == [str(store)] and not (answer["lost"] or answer["documents"])
    assert "--lost" in command(shipped, "repair")[1]
    answer = said(shipped, capsys, "repair", "--config", "penstock.toml", "--lost", str(store), code=None)
    assert answer["whole"] and not answer["silent"]
    assert said(shipped, capsys, "verify", "--config", "penstock.toml")["ok"]


def largest(replica: Path) -> Path:
    """Its largest blob that is no manifest, as a path within the replica."""
    record = max((replica / "log").iterdir()).read_bytes()
    blobs = [path for path in head_blobs(replica) if path.name.encode() not in record]
    return max(blobs, key=lambda path: path.stat().st_size).relative_to(replica)
