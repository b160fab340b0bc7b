"""Restoring whole homes: what comes back, what the next ingest pays, and what a half-restored home says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.flows import wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.cli import main
from penstock.flows.config import home as homes
from penstock.flows.config.settings import load
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery.restoring import Request, Restored, restore
from penstock.flows.runs import upkeep
from penstock.index.blobs import blob
from penstock.index.catalog.locks import FileLocks
from penstock.index.errors import Conflict, Corrupt, Fenced, Unavailable
from penstock.index.reading.reader import Reader
from penstock.index.recovery import progress as steps
from penstock.index.recovery.archive import Archive
from penstock.index.stores.store import LocalStore
from tests.flows.children import ROOT
from tests.flows.conftest import World
from tests.flows.restore_child import Child, Ended
from tests.index.recovery.shipped import archive, flip, manifest_at, own_blobs, ship, token
from tests.index.s3 import S3Server, server  # noqa: F401 - a fixture is used by its name


def shipped(world: World, to: Path) -> StorePlace:
    ship(LocalStore(world.home / "replicas" / "0", token=token), archive(to))
    return StorePlace(str(to))


def restored(home: Path, *places: StorePlace, **wish: object) -> Restored:
    lines: list[str] = []
    request = Request(places, **wish)  # type: ignore[arg-type]
    return restore(load(None), home, request, lines.append, lambda *_: None)


def findings(home: Path) -> list[object]:
    return list(upkeep.verify(load(None), homes.require(home), lambda *_: None))


@pytest.fixture
def full(world: World) -> World:
    """Thirteen documents, in three versions."""
    return filled(world)


def filled(world: World) -> World:
    for number in range(12):
        world.write(f"{number:02d}.txt", f"text number {number}")
    world.ingest()
    world.write("03.txt", "another third")
    world.ingest()
    world.write("late.txt", "came late")
    world.ingest()
    return world


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DR store that such an index was shipped to."""
    root = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        shipped(filled(World(root, patch)), root / "dr")
    return root / "dr"


@pytest.fixture
def place(once: Path, tmp_path: Path) -> StorePlace:
    """A copy of it, for this test alone."""
    shutil.copytree(once, tmp_path / "dr")
    return StorePlace(str(tmp_path / "dr"))


def embedded(world: World) -> int:
    return len(world.encoder.embedded)


def test_the_next_ingest_pays_for_what_differs_and_nothing_else(full: World, tmp_path: Path) -> None:
    """The whole home is gone: unchanged sources cost nothing; 3 changed, 1 new and 2 deleted cost 4 and remove 2."""
    before, place = full.rows(), shipped(full, tmp_path / "dr")
    shutil.rmtree(full.home)
    restored(full.home, place)
    assert full.rows() == before
    paid = embedded(full)
    account = full.ingest()
    assert (account.indexed, account.deleted, embedded(full)) == (0, 0, paid)
    for number in (0, 5, 7):
        full.write(f"{number:02d}.txt", f"changed {number}")
    full.write("new.txt", "brand new")
    (full.docs / "01.txt").unlink()
    (full.docs / "02.txt").unlink()
    account = full.ingest()
    assert (account.indexed, account.deleted, embedded(full)) == (4, 2, paid + 4)
    assert findings(full.home) == []


MOMENTS = [("begun", 1), ("laid", 1), ("blob", 1), ("blob", 4), ("blob", 2), ("filled", 1), ("fenced", 1)]
MOMENTS += [("replica", 1), ("replica", 2), ("decided", 1)]


@pytest.mark.parametrize("by_chance", [False, True], ids=["at each step", "by chance"])
def test_a_restore_that_is_killed_ten_times_is_finished(place: StorePlace, tmp_path: Path, by_chance: bool) -> None:
    """SIGKILL, at each step of it or at any moment: the same command completes, with one lineage, and verifies."""
    home, chance = tmp_path / "new", random.Random(7)
    ended = killed(
        Child(str(home), place.url, die_after=chance.uniform(0, 0.2))
        if by_chance
        else Child(str(home), place.url, f"restore.{point}", times)
        for point, times in MOMENTS
    )
    assert {each.status for each in ended} <= ({0, -signal.SIGKILL} if by_chance else {-signal.SIGKILL})
    done = restored(home, place)
    assert {each.lineage for each in ended} <= {done.lineage, ""}
    assert findings(home) == []
    assert (done.version, done.now) == (3, 4)
    assert not list(home.glob("replicas/*/tmp/*"))


def killed(children: Iterable[Child]) -> list[Ended]:
    """Run one after another until it dies, or is done before that."""
    argument = msgspec.json.encode(list(children)).decode()
    process = subprocess.run(
        [sys.executable, "-m", "tests.flows.restore_child", argument],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found: list[Ended] = msgspec.json.decode(process.stdout, type=list[Ended])
    return found


def test_home_and_documents_may_be_elsewhere(full: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Restored at another path, with the documents moved and re-bound: nothing is embedded, nothing removed."""
    place, moved = shipped(full, tmp_path / "dr"), tmp_path / "elsewhere" / "papers"
    shutil.rmtree(full.home)
    moved.parent.mkdir()
    full.docs.rename(moved)
    full.home, full.docs = tmp_path / "another" / "home", moved
    restored(full.home, place)
    code, said = cli("ingest", home=full.home)
    assert code == 2 and "`penstock sources rebind docs NEW`" in said["error"]["message"]
    assert main(["sources", "rebind", "docs", str(moved), "--home", str(full.home)]) == 0
    assert f"Next: penstock ingest {moved} --home {full.home}" in capsys.readouterr().out
    paid = embedded(full)
    account = full.ingest("docs")
    assert (account.indexed, account.deleted, embedded(full)) == (0, 0, paid)
    assert findings(full.home) == []


def cli(*words: str, home: Path) -> tuple[int, dict[str, Any]]:
    """(exit code, what is on stdout) of a command."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*words, "--home", str(home), "--json"])
    return code, json.loads(out.getvalue())


def half(place: StorePlace, home: Path, **wish: object) -> None:
    """A home in which a restore died with one blob arrived."""

    def die(point: str) -> None:
        if point == "restore.blob":
            raise Killed

    with pytest.raises(Killed):
        restore(load(None), home, Request((place,), **wish), lambda _: None, lambda *_: None, reach=die)  # type: ignore[arg-type]


class Killed(BaseException):
    """The process is no more."""


def test_the_command_restores_and_says_what_it_did(place: StorePlace, tmp_path: Path) -> None:
    """Everything that a program wants to know, and the old index is shut out of its DR store."""
    home = tmp_path / "new"
    code, said = cli("restore", "--from", place.url, home=home)
    assert (code, said["version"], said["now"], said["passed_over"]) == (0, 3, 4, [])
    assert said["blobs"] > 5 and 0 < said["seconds_to_search"] <= said["seconds_to_whole"]
    with pytest.raises(Fenced):
        archive(Path(place.url)).check_not_fenced(said["was"])
    assert cli("restore", "--from", place.url, home=home)[1]["blobs"] == 0
    finished = steps.finished(home)
    assert finished is not None and (finished.origins[0].url, finished.was) == (place.url, said["was"])


def test_a_fork_leaves_the_old_index_alone(place: StorePlace, tmp_path: Path) -> None:
    """Both go on."""
    done = restored(tmp_path / "new", place, fork=True)
    archive(Path(place.url)).check_not_fenced(done.was)


def test_fork_after_a_restore_without_it_is_refused(place: StorePlace, tmp_path: Path) -> None:
    """The fence is there: nobody is told that the old index goes on."""
    assert cli("restore", "--from", place.url, home=tmp_path / "new")[1]["fenced"]
    code, said = cli("restore", "--from", place.url, "--fork", home=tmp_path / "new")
    assert code == 2 and "shut out" in str(said)


def test_fork_of_a_restore_that_had_put_its_fence_says_so(place: StorePlace, tmp_path: Path) -> None:
    """It died after that; with --fork it ends, and the old index stays shut out."""

    def die(point: str) -> None:
        if point == "restore.fenced":
            raise Killed

    with pytest.raises(Killed):
        restore(load(None), tmp_path / "new", Request((place,)), lambda _: None, lambda *_: None, reach=die)
    code, said = cli("restore", "--from", place.url, "--fork", home=tmp_path / "new")
    assert (code, said["fork"], said["fenced"]) == (0, True, True)


def test_a_dr_store_that_lost_its_marker_is_restored(place: StorePlace, tmp_path: Path) -> None:
    """Its records say whose it is."""
    (Path(place.url) / "shipped.json").unlink()
    assert cli("restore", "--from", place.url, home=tmp_path / "new")[1]["version"] == 3


def test_an_index_that_can_be_read_is_refused(full: World, tmp_path: Path) -> None:
    """Unless --over is given, which moves it aside, whole; the vectors that were paid for stay in the cache."""
    place, before = shipped(full, tmp_path / "dr"), full.rows()
    full.write("after.txt", "after shipping")
    full.ingest()
    with pytest.raises(UsageError, match=r"holds an index that can be read .version 4.*--over"):
        restored(full.home, place)
    assert len(full.rows()) == len(before) + 1
    restored(full.home, place, over=True)
    assert full.rows() == before
    (aside,) = full.home.glob("before-restore-*")
    assert {path.name for path in aside.iterdir()} >= {"catalog.db", "replicas"}
    with Reader.open(aside / "replicas" / "0") as reader:
        assert reader.version == 4
    paid = embedded(full)
    assert (full.ingest().indexed, embedded(full)) == (1, paid)  # of the cache


def test_what_runs_work_with_is_in_no_restore_s_way(place: StorePlace, tmp_path: Path) -> None:
    """Where the index is lost, the folders that runs and Prefect keep beside it may be there still."""
    home = tmp_path / "lost"
    for name in ("spool", "cache", "lending", "prefect"):
        (home / name).mkdir(parents=True)
    assert cli("restore", "--from", place.url, home=home)[0] == 0


def test_a_folder_full_of_documents_is_not_made_a_home(place: StorePlace, tmp_path: Path) -> None:
    """Unless --over is given: then the home is made among them, and they stay."""
    docs = tmp_path / "my docs"
    docs.mkdir()
    (docs / "thesis.txt").write_text("ten years of work")
    code, said = cli("restore", "--from", place.url, home=docs)
    assert code == 2 and "not empty (thesis.txt)" in said["error"]["message"]
    assert [path.name for path in docs.iterdir()] == ["thesis.txt"]
    assert cli("restore", "--from", place.url, "--over", home=docs)[0] == 0
    assert (docs / "thesis.txt").read_text() == "ten years of work"


def test_a_damaged_home_is_moved_aside_by_itself(full: World, tmp_path: Path) -> None:
    """Nothing of it can be read, and nothing of it is deleted."""
    place, before = shipped(full, tmp_path / "dr"), full.rows()
    shutil.rmtree(full.home / "replicas" / "0")
    for record in (full.home / "replicas" / "1").glob("log/*"):
        flip(record)
    restored(full.home, place)
    assert full.rows() == before and findings(full.home) == []
    (aside,) = full.home.glob("before-restore-*")
    assert len(list((aside / "replicas" / "1" / "log").iterdir())) == 3


def test_replicas_elsewhere_are_moved_aside_beside_their_place(place: StorePlace, tmp_path: Path) -> None:
    """Each on its own disk."""
    disk = tmp_path / "disk" / "copy"
    disk.mkdir(parents=True)
    (disk / "replica.json").write_text("damaged")
    config = tmp_path / "p.toml"
    config.write_text(f'[index]\nreplicas = {{ a = "{disk}" }}\n')
    restore(load(config), tmp_path / "new", Request((place,)), lambda _: None, lambda *_: None)
    assert [path.name for path in disk.parent.glob("copy.before-restore-*/*")] == ["replica.json"]
    with Reader.open(disk) as reader:
        assert reader.version == 4


def test_a_half_restored_home_answers_everybody(world: World, place: StorePlace, tmp_path: Path) -> None:
    """It is searched; who wants to write, verify or repair it is told what finishes it; and then it is whole."""
    home = tmp_path / "new"
    half(place, home)
    code, found = cli("search", "anything", home=home)
    assert (code, len(found["hits"])) == (0, 5)
    code, said = cli("status", home=home)
    assert code == 0 and "is being restored" in said["verdict"]
    assert said["next"] == f"penstock restore --from {place.url} --home {home}"
    for words in (["ingest", str(world.docs)], ["verify"], ["repair"], ["compact"], ["collect"]):
        code, said = cli(*words, home=home)
        assert code == 3 and f"penstock restore --from {place.url} --home {home}" in said["error"]["message"]
    assert cli("restore", "--from", place.url, home=home)[0] == 0
    assert cli("status", home=home)[1]["healthy"]


def test_another_restore_over_half_a_one_is_refused(place: StorePlace, tmp_path: Path) -> None:
    """Unless --over is given; what has arrived is not fetched again then."""
    home = tmp_path / "new"
    half(place, home, version=3)
    with pytest.raises(UsageError, match=r"being restored from version 3 already.*--version 3.*--over"):
        restored(home, place, version=2)
    with pytest.raises(UsageError, match="being restored"):
        restored(home, place)
    arrived = len(list(home.glob("replicas/0/blobs/*/*")))
    done = restored(home, place, version=2, over=True)
    assert arrived >= 1 and (done.version, done.now) == (2, 3)
    assert findings(home) == []


def test_damage_that_is_asked_for_is_said_with_exit_code_3(place: StorePlace, tmp_path: Path) -> None:
    """And what is whole; nothing was made in the home's place before that was known."""
    home = tmp_path / "new"
    dr = archive(Path(place.url))
    own_blobs(dr, 3)[0].unlink()
    code, said = cli("restore", "--from", place.url, "--version", "3", home=home)
    assert code == 3 and "newest version that is whole is 2" in said["error"]["message"]
    assert not home.exists()
    code, said = cli("restore", "--from", place.url, home=home)
    assert (code, said["version"]) == (0, 2) and "version 3 is passed over" in said["passed_over"][0]


def test_what_can_never_be_finished_keeps_nobody_from_another_wish(
    world: World, place: StorePlace, tmp_path: Path
) -> None:
    """A blob proves damaged while it is copied: the version that the message names works as it stands there, and so
    does what status and ingest say."""
    home = tmp_path / "new"
    flip(largest(place, 3))
    code, said = cli("restore", "--from", place.url, "--version", "3", home=home)
    assert code == 3 and said["error"]["message"].endswith("the newest version that is whole is 2: --version 2")
    command = f"penstock restore --from {place.url} --version 2 --home {home}"
    code, said = cli("status", home=home)
    assert said["next"] == command and "version 3 is damaged there" in said["verdict"]
    assert command in cli("ingest", str(world.docs), home=home)[1]["error"]["message"]
    assert cli(*command.split()[1:-2], home=home)[1]["version"] == 2
    assert findings(home) == []


def largest(place: StorePlace, version: int) -> Path:
    """A blob of that version alone, that no search of its manifest needs."""
    dr = archive(Path(place.url))
    return Path(place.url) / blob.key(manifest_at(dr, version).texts[-1].blob)


def test_without_a_right_to_write_there_both_ways_are_said(
    place: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the restore itself said them: other credentials, or --fork; and --fork finishes it."""
    home = tmp_path / "new"
    with monkeypatch.context() as patch:
        patch.setattr(Archive, "fence", away)
        code, said = cli("restore", "--from", place.url, home=home)
        assert code == 3 and "--fork" in said["error"]["message"]
    said = cli("status", home=home)[1]
    assert "credentials that may, or with --fork in addition" in said["verdict"]
    code, said = cli("restore", "--from", place.url, "--fork", home=home)
    assert (code, said["blobs"]) == (0, 0)
    assert cli("status", home=home)[1]["healthy"]


def away(*_: object) -> None:
    raise Unavailable("read-only")


def test_damage_before_the_first_search_only_delays_it(place: StorePlace, tmp_path: Path) -> None:
    """What a search needs is damaged in the newest version: the next whole one is searched, and shown once."""
    shown: list[int] = []
    dr = archive(Path(place.url))
    for path in own_blobs(dr, 3):
        flip(path)
    request = Request((place,))
    done = restore(
        load(None),
        tmp_path / "new",
        request,
        lambda _: None,
        lambda *_: None,
        lambda reader: shown.append(reader.version),
    )
    assert (done.version, done.now, shown) == (2, 4, [4])
    assert findings(tmp_path / "new") == []


def test_what_runs_shipped_is_restored_and_the_old_home_stops(world: World, tmp_path: Path) -> None:
    """Shipping and restore agree; the old home is fenced, and the new one says that the DR store is not its own."""
    config = tmp_path / "p.toml"
    config.write_text(f'[snapshots]\nstore = "{tmp_path / "dr"}"\n')
    world.write("a.txt", "alpha")
    world.ingest(config=str(config))
    world.write("b.txt", "beta")
    world.ingest(config=str(config))
    before, new = world.rows(), tmp_path / "new"
    code, said = cli("restore", "--config", str(config), home=new)
    assert (code, said["version"]) == (0, 2)
    with pytest.raises(Fenced, match="goes on in its stead"):
        world.ingest(config=str(config))
    world.home, paid = new, embedded(world)
    assert world.rows() == before
    world.write("c.txt", "gamma")
    account = world.ingest(config=str(config))
    assert (account.indexed, embedded(world), account.exit_code()) == (1, paid + 1, 0)
    assert any("another index" in message for message in account.messages)


def test_a_time_between_two_ingests_gives_exactly_the_first(world: World, tmp_path: Path) -> None:
    """Five ingests; what is restored is what was served then."""
    served, times = [], []
    for number in range(5):
        world.write("a.txt", f"text {number}")
        world.write(f"{number}.txt", f"own text {number}")
        world.ingest()
        served.append(world.rows())
        with Reader.open(world.home) as reader:
            times.append(reader.manifest.committed_at)
    place = shipped(world, tmp_path / "dr")
    world.home = tmp_path / "then"
    assert restored(world.home, place, at=(times[1] + times[2]) / 2).version == 2
    assert world.rows() == served[1]


def test_a_bucket_that_is_not_empty_is_refused(
    place: StorePlace,
    tmp_path: Path,
    server: S3Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing can be moved aside there; an empty prefix is filled like a folder."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    bucket, config = f"s3://{server.bucket()}", tmp_path / "p.toml"
    config.write_text(f'[index]\nreplicas = {{ a = "{tmp_path / "a"}", b = "{bucket}/copy" }}\n')
    stray = wiring.store(f"{bucket}/copy")
    stray.put_if_absent("log/x", b"somebody's")
    code, said = cli("restore", "--from", place.url, "--config", str(config), "--over", home=tmp_path / "new")
    assert code == 2 and "is not empty (log/x)" in said["error"]["message"]
    assert list(stray.list("")) == ["log/x"]
    stray.delete("log/x")
    assert cli("restore", "--from", place.url, "--config", str(config), home=tmp_path / "new")[0] == 0
    assert list(upkeep.verify(load(config), homes.require(tmp_path / "new"), lambda *_: None)) == []


def test_nobody_restores_where_somebody_restores_or_writes(full: World, tmp_path: Path) -> None:
    """Two at once would mix what they fetch; a run that goes on would lose what it commits."""
    place = shipped(full, tmp_path / "dr")
    held = FileLocks(full.home).take("restore")
    with pytest.raises(Conflict, match="somebody restores into"):
        restored(full.home, place, over=True)
    assert held is not None
    held.release()
    writer = wiring.open_writer(load(None), homes.require(full.home), print)
    with writer, pytest.raises(Unavailable, match="a run works on"):
        restored(full.home, place, over=True)
    assert not list(full.home.glob("before-restore-*"))


def test_a_note_that_is_damaged_is_no_dead_end(place: StorePlace, tmp_path: Path) -> None:
    """What was decided cannot be read: with --over it begins anew."""
    half(place, tmp_path / "new")
    flip(tmp_path / "new" / steps.UNFINISHED)
    with pytest.raises(Corrupt, match="--over"):
        restored(tmp_path / "new", place)
    restored(tmp_path / "new", place, over=True)
    assert findings(tmp_path / "new") == []
