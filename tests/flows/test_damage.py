"""By commands alone: verify tells, repair mends, verify is content, and ingest embeds nothing that was acknowledged."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.flows import cli
from penstock.index.blobs import blob
from penstock.index.reading.reader import Reader
from tests.flows.children import served
from tests.flows.conftest import World
from tests.flows.test_kill import documents
from tests.flows.test_report import flip


def said(world: World, capsys: pytest.CaptureFixture[str], *words: str, code: int | None = 0) -> dict[str, Any]:
    capsys.readouterr()
    ended = cli.main([*words, "--home", str(world.home), "--json"])
    out = capsys.readouterr()
    assert code is None or ended == code, out
    answer: dict[str, Any] = json.loads(out.out)
    return answer


def files(world: World, replica: str) -> list[Path]:
    return sorted(path for path in (world.home / "replicas" / replica).rglob("*") if path.is_file())


def truncate(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def other_blobs(world: World) -> None:
    """Damage on both replicas at once, in different blobs."""
    for number, replica in enumerate(("0", "1")):
        blobs = [path for path in files(world, replica) if "/blobs/" in str(path)]
        for path in blobs[number::2]:
            flip(path)


DAMAGES: dict[str, Callable[[World, random.Random], object]] = {
    "catalog deleted": lambda world, dice: (world.home / "catalog.db").unlink(),
    "catalog damaged": lambda world, dice: (world.home / "catalog.db").write_bytes(dice.randbytes(5000)),
    "replica deleted": lambda world, dice: shutil.rmtree(world.home / "replicas/1"),
    "replica emptied": lambda world, dice: [path.unlink() for path in files(world, "1")],
    "bytes flipped": lambda world, dice: [flip(path) for path in dice.sample(files(world, "0"), 5)],
    "files truncated": lambda world, dice: [truncate(path) for path in dice.sample(files(world, "1"), 5)],
    "both, in different blobs": lambda world, dice: other_blobs(world),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_to_one_copy_is_told_and_mended(
    damage: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the answers are the same before, meanwhile and after."""
    documents(world.docs, 12)
    world.ingest()
    world.write("later.txt", "came later")
    world.ingest()
    answers, embedded = served(world.home), len(world.encoder.embedded)
    DAMAGES[damage](world, random.Random(damage))
    assert said(world, capsys, "status", code=None)["version"] == 2
    assert served(world.home) == answers
    assert not said(world, capsys, "verify", code=1)["ok"]
    assert said(world, capsys, "repair")["ok"]
    assert said(world, capsys, "verify") == {"ok": True, "findings": []}
    assert not said(world, capsys, "repair")["changed"]
    assert served(world.home) == answers
    assert said(world, capsys, "status")["healthy"]
    assert world.ingest().indexed == 0 and len(world.encoder.embedded) == embedded


def test_what_is_good_nowhere_is_named_marked_and_embedded_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly that: repair ends with 1, the next ingest makes it whole, and then nothing is left to do."""
    documents(world.docs, 12)
    world.ingest()
    answers = served(world.home)
    with Reader.open(world.home) as reader:
        vectors = blob.key(reader.manifest.spaces[reader.manifest.live].segments[0].index)
    world.write("later.txt", "came later")
    world.ingest()
    embedded = len(world.encoder.embedded)
    for replica in ("0", "1"):
        flip(world.home / "replicas" / replica / vectors)
    assert not said(world, capsys, "verify", code=1)["ok"]
    lost = said(world, capsys, "repair", code=1)["documents"]
    assert lost and "docs/later.txt" not in lost
    world.home.joinpath("cache", "vectors.db").unlink()  # or it would have them
    account = world.ingest()
    assert account.indexed == len(lost) and len(world.encoder.embedded) > embedded
    assert said(world, capsys, "verify")["ok"] and said(world, capsys, "repair")["ok"]
    world.docs.joinpath("later.txt").unlink()
    world.ingest()
    assert served(world.home) == answers
