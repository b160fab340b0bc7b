"""The power fails at any moment, and of what was not synced anything may survive: nothing acknowledged is lost.

Seeded; a failure names what replays it: PENSTOCK_POWER_SEED, and PENSTOCK_POWER_MOMENT for one moment alone.
By default a few moments are looked at, `PENSTOCK_POWER_LOOKS` times as many if it is set, or all with
`PENSTOCK_POWER_EVERY=1`. `PENSTOCK_POWER_TALLY` names a file that gets a line with the number of disks booted.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.index.blobs import framed
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.reading.reader import Reader
from penstock.index.stores.store import LocalStore
from tests.fakes.crashfs import FATES, CrashFs, Killed, Moment
from tests.index.world import World, delta, served

SEED = int(os.environ.get("PENSTOCK_POWER_SEED", "1"))
EVERY = int(os.environ.get("PENSTOCK_POWER_EVERY", "0"))
LOOKS = int(os.environ.get("PENSTOCK_POWER_LOOKS", "1"))
TALLY = os.environ.get("PENSTOCK_POWER_TALLY")
ONLY = os.environ.get("PENSTOCK_POWER_MOMENT")


def after_each_loss(fs: CrashFs, room: Path, check: Callable[[Path, Moment], None], *, looks: int) -> int:
    """Let the power fail at moments of `fs`, and `check` what the next boot finds. Returns how many disks it saw."""
    total = sum(1 for _ in fs.moments())
    chosen = (
        set(range(total))
        if EVERY
        else {total - 1, *random.Random(SEED).sample(range(total), min(looks * LOOKS, total))}
    )
    seen = 0
    for number, moment in enumerate(fs.moments()):
        if number not in chosen or (ONLY is not None and int(ONLY) != number):
            continue
        for turn, fate in enumerate(FATES):
            home = room / f"{number}.{turn}"
            home.mkdir(parents=True)
            moment.materialise(home / "disk", random.Random(f"{SEED}.{number}.{turn}"), fate)
            try:
                check(home / "disk", moment)
            except (Exception, Killed) as error:
                raise AssertionError(
                    f"PENSTOCK_POWER_SEED={SEED} PENSTOCK_POWER_MOMENT={number}: the power failed before "
                    f"{moment.call!r}, {fate} survived ({turn}), then {type(error).__name__}: {error}"
                ) from error
            shutil.rmtree(home)
            seen += 1
    if TALLY is not None:
        with Path(TALLY).open("a") as tally:
            tally.write(f"{seen}\n")
    return seen


def values(folder: Path) -> dict[str, bytes]:
    """Every value under a final name."""
    store = LocalStore(folder, token=str)
    return {key: store.get(key) for key in store.list("")} if folder.is_dir() else {}


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_an_acknowledged_put_is_there_whole(
    tmp_path: Path, seed: int, hard_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was not acknowledged is there whole or not at all, whoever else was killed over the same key."""
    dice, tokens = random.Random(seed), itertools.count()
    if not hard_links:
        monkeypatch.setattr(os, "link", _no_links)
    (tmp_path / "tree").mkdir()
    put: dict[str, bytes] = {}

    def store() -> LocalStore:
        return LocalStore.create(tmp_path / "tree" / "made" / "store", token=lambda: f"t{next(tokens)}")

    with CrashFs(tmp_path / "tree") as fs:
        stores = [store(), store()]
        for n in range(14):
            key = dice.choice(("log/{}", "blobs/aa/{}", "blobs/ab/{}", "{}")).format(n)
            put[key] = data = dice.randbytes(dice.choice((1, 40, 100)))
            if dice.random() < 0.5:
                fs.kill_in(dice.randrange(8))
                try:
                    stores[n % 2].put_if_absent(key, data)
                except Killed:
                    fs.revive()
                    stores[n % 2] = store()
                fs.revive()
            stores[1 - n % 2].put_if_absent(key, data)
            fs.note(key)

    def check(disk: Path, moment: Moment) -> None:
        found = values(disk / "made" / "store")
        assert {key for (key,) in moment.notes} <= found.keys(), "an acknowledged put is lost"
        assert all(put[key] == data for key, data in found.items()), "a half value lies under its name"

    assert after_each_loss(fs, tmp_path / "boots", check, looks=60)


def _no_links(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


HISTORY: list[dict[str, str | None]] = [
    {"s/a": "one two", "s/b": "three"},
    {"s/a": "uno", "s/c": "four five"},
    {"s/b": None, "s/d": "six"},
]
SERVED: list[dict[str, list[str]]] = [
    {},
    {"s/a": ["one", "two"], "s/b": ["three"]},
    {"s/a": ["uno"], "s/b": ["three"], "s/c": ["four", "five"]},
    {"s/a": ["uno"], "s/c": ["four", "five"], "s/d": ["six"]},
]


def boots(replicas: int, write_quorum: int) -> Callable[[Path, Moment], None]:
    """A check: what the next boot finds serves all that was acknowledged, and can be opened, verified, extended."""

    def check(disk: Path, moment: Moment) -> None:
        home = disk.parent
        disk.rename(home / "replicas")
        if moment.beside is not None:
            (home / "catalog.db").write_bytes(moment.beside)
        world = World(home, replicas, write_quorum)
        acked = max((version for (version,) in moment.notes), default=0)
        for name in world.ids:
            assert_nothing_half(world.folder(name))
        if acked:
            with Reader.open(home) as reader:
                assert acked <= reader.version
                assert served(reader.manifest, world.stores()) == SERVED[reader.version]
        with world.create() as writer:
            at = writer.head().version
            assert acked <= at, f"version {acked} was acknowledged, {at} is there"
            assert served(writer.head(), world.stores()) == SERVED[at]
            assert world.findings() == []
            if at < len(HISTORY):
                assert writer.commit(delta(at, HISTORY[at])).version == at + 1
        assert world.findings() == []

    return check


def assert_nothing_half(folder: Path) -> None:
    """What lies under a final name is what the name says."""
    for key, data in values(folder).items():
        if key.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == Path(key).name.split(".")[0], key
        elif key.startswith("log/"):
            framed.decode(data, log.LogRecord, key)
        else:
            framed.decode(data, markers.Epoch if key.startswith("epochs/") else markers.Marker, key)


@pytest.mark.parametrize(("replicas", "write_quorum"), [(1, 1), (2, 2)])
def test_an_acknowledged_commit_is_served_after_the_power_failed(
    tmp_path: Path, replicas: int, write_quorum: int
) -> None:
    """From the first call that makes the index to the last of the third commit."""
    home = tmp_path / "home"
    (home / "replicas").mkdir(parents=True)
    with (
        CrashFs(home / "replicas", beside=home / "catalog.db") as fs,
        World(home, replicas, write_quorum).create() as writer,
    ):
        for version, docs in enumerate(HISTORY):
            fs.note(writer.commit(delta(version, docs)).version)
    assert after_each_loss(fs, tmp_path / "boots", boots(replicas, write_quorum), looks=6)


def test_a_replica_that_is_made_again_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    """The power may fail while an absent replica is copied from the other."""
    home = tmp_path / "home"
    with World(home).create() as writer:
        for version, docs in enumerate(HISTORY):
            writer.commit(delta(version, docs))
    shutil.rmtree(home / "replicas" / "1")
    with CrashFs(home / "replicas", beside=home / "catalog.db") as fs:
        fs.note(len(HISTORY))
        World(home).open().close()

    def check(disk: Path, moment: Moment) -> None:
        if (disk / "1").exists():
            shutil.rmtree(disk / "0")  # whatever calls itself the replica must be able to stand alone
            with Reader.open(disk / "1") as reader:
                assert reader.version == len(HISTORY)
            return
        boots(2, 2)(disk, moment)

    assert after_each_loss(fs, tmp_path / "boots", check, looks=6)


def test_the_catalog_is_what_it_was_when_the_power_failed(tmp_path: Path) -> None:
    """Of the harness: the file beside the tree follows the time line."""
    home = tmp_path / "home"
    (home / "replicas").mkdir(parents=True)
    with CrashFs(home / "replicas", beside=home / "catalog.db") as fs, World(home).create() as writer:
        writer.commit(delta(0, HISTORY[0]))
    thens = [moment.beside for moment in fs.moments() if moment.beside is not None]
    for at, version in ((0, 0), (len(thens) // 2, 0), (-1, 1)):
        (tmp_path / "then.db").write_bytes(thens[at])
        head = Catalog(f"sqlite:///{tmp_path / 'then.db'}").head()
        assert (head.version if head else 0) == version
