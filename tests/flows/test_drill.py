"""A drill passes where what was shipped is the index, fails with the reason where it is not, and disturbs nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.flows import cli, model_wiring, wiring
from penstock.flows.answers.exits import UsageError
from penstock.flows.config import home as homes
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings, load
from penstock.flows.config.snapshots import StorePlace
from penstock.flows.recovery import drill_log, drilling, restoring, scratch
from penstock.flows.recovery.drill import Drill, Wanted, drill
from penstock.flows.recovery.drill_log import Drilled
from penstock.index.blobs import framed
from penstock.index.commits import log
from penstock.index.errors import Conflict
from penstock.index.reading.reader import Reader
from penstock.index.recovery.archive import FENCES, Named
from penstock.index.stores.store import LocalStore
from penstock.index.types import SourceState
from tests.flows.children import ROOT
from tests.flows.conftest import World as Ingests
from tests.index.recovery.shipped import archive, flip, own_blobs, ship, token
from tests.index.s3 import KEYS, S3Server, server  # noqa: F401 - a fixture is used by its name
from tests.index.world import World, delta


class Site:
    """A home of three versions, committed a minute ago, and a DR store with all of them."""

    def __init__(self, folder: Path) -> None:
        self.world, self.dr, self.config = World(folder / "home"), folder / "dr", folder / "penstock.toml"
        self.world._ticks = itertools.count(int(wiring.clock()) - 1060)
        self.home, self.lines = self.world.root, list[str]()
        if not self.home.exists():
            self._make(folder)
        self.config.write_text(f'home = "{self.home}"\n[snapshots]\nstore = "{self.dr}"\n')

    def _make(self, folder: Path) -> None:
        source = {"s": SourceState("s", "adhoc", "")}
        with self.world.create() as writer:
            writer.commit(delta(0, {"s/a": "one two three", "s/b": "four five", "s/c": "six"}, sources=source))
            writer.commit(delta(1, {"s/b": None, "s/c": "six seven"}, sources=source))
            writer.commit(delta(2, {"s/d": "eight nine"}, sources=source))
        self.ship()

    def change(self) -> None:
        with self.world.open() as writer:
            writer.commit(delta(3, {"s/a": "another"}, sources={}))

    def ship(self) -> None:
        ship(LocalStore(self.home / "replicas/0", token=token), archive(self.dr))

    def drill(self, *places: Path, **options: Any) -> Drill:
        room = {"room": options.pop("room")} if "room" in options else {}
        wanted = Wanted(tuple(StorePlace(str(each)) for each in places), **options)
        home = homes.require(self.home)
        return drill(load(self.config), home, wanted, self.lines.append, lambda *_: None, **room)

    def one(self, **options: Any) -> Drilled:
        done = self.drill(**options)
        (found,) = done.drills
        assert done.result == found.result
        return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    Site(folder)
    return folder


@pytest.fixture
def site(template: Path, tmp_path: Path) -> Site:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Site(tmp_path)


def files(folder: Path, but: str = "-") -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / but))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def left(home: Path) -> set[str]:
    return {path.name for path in (home / "drill").iterdir()} - {"locks"}


def test_a_healthy_dr_store_passes_and_nothing_is_disturbed(site: Site) -> None:
    """Same answers, a clean verify, and no byte of production or of the DR store is another one."""
    before, shipped = files(site.home, "drill"), files(site.dr)
    found = site.one()
    assert (found.result, found.reasons) == ("passed", ()), found
    assert (found.shipped, found.restored, found.head, found.lag_versions) == (3, 3, 3, 0)
    assert (found.probes, found.equal, found.documents, found.chunks, found.findings) == (7, 7, 3, 7, 0)
    assert 0 < found.seconds_to_answer <= found.seconds_to_whole <= found.seconds
    assert found.bytes > 0 and found.blobs > 0
    assert files(site.home, "drill") == before and files(site.dr) == shipped
    assert list(archive(site.dr).store.list(FENCES)) == []
    assert left(site.home) == {"probes.json", "history.json"}


def test_each_configured_store_is_drilled_and_remembered(site: Site, tmp_path: Path) -> None:
    """One of them is damaged: the drill failed, and which one it was is said."""
    other = tmp_path / "other"
    ship(LocalStore(site.home / "replicas/0", token=token), archive(other), upto=2)
    shutil.rmtree(other / "log")
    done = site.drill(site.dr, other)
    assert [one.result for one in done.drills] == ["passed", "failed"]
    assert (done.result, done.exit_code) == ("failed", 1)
    assert all(reason.startswith(str(other)) for reason in done.reasons)
    assert [one.result for one in drill_log.read(site.home, pytest.fail)] == ["passed", "failed"]


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damage_in_the_newest_version_fails_with_the_reason(site: Site, damage: Callable[[Path], None]) -> None:
    """The version before is restored in its stead, and is all right; that is not what was promised."""
    blob = own_blobs(archive(site.dr), 3)[0]
    damage(blob)
    found = site.one()
    assert found.result == "failed"
    assert (found.shipped, found.restored, found.equal) == (3, 2, found.probes)
    assert found.reasons[0] == "version 3 is not whole there: 2 was restored in its stead"
    assert any(blob.name[:12] in reason for reason in found.reasons[1:]) and not any("hit" in r for r in found.reasons)


def test_what_the_docs_say_of_damage_helps(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """`snapshot verify` names the blob; deleted there, `ship` puts it again, and the drill passes."""
    blob = own_blobs(archive(site.dr), 3)[0]
    flip(blob)
    assert site.one().result == "failed"
    assert cli.main(["snapshot", "verify", "--config", str(site.config)]) == 1
    assert blob.name[:12] in capsys.readouterr().out
    blob.unlink()
    assert cli.main(["ship", "--config", str(site.config)]) == 0
    assert site.one().result == "passed"


def test_a_lost_record_is_told_of_and_fails_where_a_snapshot_names_it(site: Site) -> None:
    """Without the name nobody can see that it was ever there whole."""
    dr = archive(site.dr)
    (key,) = [key for key in dr.versions() if key[0] == 3]
    record = dr.record(*key)
    (site.dr / log.key(*key)).unlink()
    found = site.one()
    assert found.result == "passed" and any("version 3 was on its way" in note for note in found.notes)
    dr.name_version(Named(framed.FORMAT, record.lineage, "mine", *key, record.manifest, record.committed_at, 9.0))
    found = site.one()
    assert found.result == "failed"
    assert [reason for reason in found.reasons if "snapshot mine" in reason] == list(found.reasons)


def test_nothing_whole_is_a_failure_too(site: Site) -> None:
    """Whatever is wrong, somebody must look at it."""
    for blob in list((site.dr / "blobs").rglob("*.*")):
        blob.write_bytes(b"spoiled")
    found = site.one()
    assert found.result == "failed" and found.restored == 0
    assert left(site.home) == {"probes.json", "history.json"}


def test_a_store_behind_is_told_of_and_fails_after_a_day(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was shipped is compared with production at that version, so that being behind alone is no difference."""
    site.change()
    found = site.one()
    assert (found.result, found.shipped, found.lag_versions) == ("passed", 3, 1)
    assert 0 < found.lag_seconds < 3600
    monkeypatch.setattr(wiring, "clock", lambda now=wiring.clock: now() + drilling.TOO_OLD)
    late = site.one()
    assert late.result == "failed" and "1 version behind" in late.reasons[0]
    assert (late.probes, late.equal) == (5, 5)


def test_what_production_no_longer_keeps_cannot_be_compared(site: Site) -> None:
    """A drill that compared nothing has shown nothing."""
    site.change()
    for replica in ("0", "1"):
        for record in (site.home / "replicas" / replica / "log").glob("*03.*"):
            record.unlink()
    found = site.one()
    assert found.result == "failed" and "does not keep version 3" in found.reasons[0]


def test_a_wrong_answer_fails_with_both_answers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restored copy is sound, and is another index: only asking shows it."""
    real = restoring.restore

    def tampered(settings: Settings, home: Path, *rest: Any) -> restoring.Restored:
        done = real(settings, home, *rest)
        with wiring.open_writer(settings, Home(home), site.lines.append) as writer:
            writer.commit(delta(done.now, {"s/a": None}, sources={}))
        return done

    monkeypatch.setattr(restoring, "restore", tampered)
    found = site.one()
    assert found.result == "failed" and found.findings == 0
    assert found.equal < found.probes
    assert any("hit 1 is" in reason and "in production" in reason for reason in found.reasons)
    assert any("2 documents, 3 in production" in reason for reason in found.reasons)


def test_too_small_a_scratch_place_is_refused(site: Site, tmp_path: Path) -> None:
    """Before anything is fetched; nothing was learned, which is no failure of the DR store."""
    found = site.one(room=lambda folder: 1000)
    assert found.result == "undone" and "--scratch" in found.reasons[0] and "1.0 kB are free" in found.reasons[0]
    (tmp_path / "scratch").mkdir()
    assert site.one(scratch=tmp_path / "scratch", room=lambda folder: 10**9).result == "passed"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_is_no_drills_is_never_removed(site: Site, tmp_path: Path) -> None:
    """A folder of ours has our mark, or nothing in it; a link is somebody's, wherever it leads."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    where = scratch.place(site.home, folder)
    where.mkdir()  # killed between this and the mark
    assert site.one(scratch=folder).result == "passed"
    where.mkdir()
    (where / "thesis.txt").write_text("ten years of work")
    with pytest.raises(UsageError, match="not what a drill left"):
        site.drill(scratch=folder)
    assert (where / "thesis.txt").exists()
    where.rename(folder / "mine")
    where.symlink_to(folder / "mine")
    (folder / "mine" / scratch.MARK).touch()
    with pytest.raises(UsageError, match="not what a drill left"):
        site.drill(scratch=folder)
    assert (folder / "mine" / "thesis.txt").exists()


def test_a_store_that_does_not_answer_leaves_it_open(site: Site) -> None:
    """Exit code 3: nobody knows more than before."""
    site.dr.rename(site.dr.with_name("away"))
    done = site.drill()
    assert (done.result, done.exit_code) == ("undone", 3)


def test_what_is_kept_is_a_home_that_can_be_searched(site: Site) -> None:
    """With --keep it gets a name that the next drill leaves alone; one that failed is worth a look, too."""
    kept = Path(site.one(keep=True).kept)
    flip(own_blobs(archive(site.dr), 3)[0])
    other = Path(site.one(keep=True).kept)
    assert site.one().result == "failed" and kept != other
    for each, documents in ((kept, 3), (other, 2)):
        with Reader.open(each / "home") as reader:
            assert reader.manifest.counts["documents"] == documents


def test_one_drill_of_a_home_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would clear away each other's scratch place."""
    tried: list[str] = []

    def again(*rest: Any) -> None:
        with pytest.raises(Conflict):
            site.drill()
        tried.append("again")
        raise OSError("enough")

    monkeypatch.setattr(restoring, "restore", again)
    assert site.one().result == "undone" and tried


def test_a_killed_drill_leaves_nothing_that_matters(site: Site) -> None:
    """Production is as it was, and the next drill clears the scratch place and passes."""
    before = files(site.home, "drill")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(site.config), str(site.home)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "scratch" in left(site.home)
    assert files(site.home, "drill") == before
    assert site.one().result == "passed"
    assert left(site.home) == {"probes.json", "history.json"}


_KILLED = """
import os, sys
from pathlib import Path
from penstock.flows.config import home
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings, load
from penstock.flows.recovery import restoring
from penstock.flows.recovery.drill import Wanted, drill
real = restoring.restore
def dies(*rest):
    return real(*rest, reach=lambda point: os.kill(os.getpid(), 9) if point != "restore.begun" else None)
restoring.restore = dies
drill(load(Path(sys.argv[1])), home.require(Path(sys.argv[2])), Wanted(), print, lambda *_: None)
"""


def test_the_command_says_what_came_of_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes 0 and 1; figures for people, and everything with --json."""
    assert cli.main(["drill", "--config", str(site.config)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Passed") and "7 of 7 passages" in said
    flip(own_blobs(archive(site.dr), 3)[0])
    assert cli.main(["drill", "--config", str(site.config), "--from", str(site.dr), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["result"], answer["drills"][0]["restored"]) == (False, "failed", 2)


def test_status_remembers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A hint before the first drill; when the last one was; after one that failed, nothing is healthy."""

    def status() -> str:
        assert cli.main(["status", "--config", str(site.config)]) == 0
        return capsys.readouterr().out

    assert "drill        never; `penstock drill` shows" in (said := status()) and said.startswith("Healthy")
    assert site.one().result == "passed"
    assert "drill        passed" in (said := status()) and said.startswith("Healthy")
    flip(own_blobs(archive(site.dr), 3)[0])
    assert site.one().result == "failed"
    said = status()
    assert said.startswith(f"Unproven: the last drill with {site.dr} failed: version 3 is not whole")
    assert "Next: penstock drill" in said and "drill        failed" in said


def test_a_damaged_history_is_none(site: Site) -> None:
    """It says how long ago a drill was; nothing else depends on it."""
    path = site.home / "drill" / "history.json"
    assert site.one().result == "passed"
    path.write_bytes(path.read_bytes()[:-10])
    assert drill_log.read(site.home, site.lines.append) == ()
    assert "earlier drills is not known" in site.lines[-1]
    assert site.one().result == "passed"
    assert len(drill_log.read(site.home, pytest.fail)) == 1


def test_without_a_dr_store_there_is_nothing_to_drill(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what to configure."""
    assert cli.main(["drill", "--home", str(site.home)]) == 2
    assert "[snapshots] store" in capsys.readouterr().err


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the flow shows, and raises."""
    import logging

    from penstock.flows import recover
    from penstock.flows.telling import emit

    made: dict[str, list[Any]] = {"page": [], "event": []}
    monkeypatch.setattr(recover, "create_markdown_artifact", lambda markdown, **rest: made["page"].append(markdown))
    monkeypatch.setattr(emit, "emit_event", lambda **event: made["event"].append(event))
    monkeypatch.setattr(recover, "get_run_logger", lambda: logging.getLogger("test"))
    return made


def test_a_failed_drill_raises_the_event_that_pages(site: Site, seen: dict[str, list[Any]]) -> None:
    """A passed one leaves its page; a failed one ends `Failed`, with the reasons in the event."""
    from penstock.flows import recover

    passed: Any = recover.drill.fn(config=str(site.config))
    assert passed.is_completed() and passed.data["result"] == "passed" and seen["event"] == []
    assert "| same answers | 7 of 7 passages |" in seen["page"][0]
    flip(own_blobs(archive(site.dr), 3)[0])
    failed: Any = recover.drill.fn(config=str(site.config))
    assert failed.is_failed() and "version 3 is not whole" in failed.message
    (event,) = seen["event"]
    assert event["event"] == "penstock.drill.failed"
    assert event["resource"]["prefect.resource.id"].startswith("penstock.home.")
    assert event["payload"]["reasons"] == [f"{site.dr}: {one}" for one in failed.data["drills"][0]["reasons"]]


def test_a_drill_that_cannot_be_held_pages_as_well(site: Site, seen: dict[str, list[Any]], tmp_path: Path) -> None:
    """Nobody may believe that it was held; without a DR store there is nothing to believe."""
    from penstock.flows import recover

    with pytest.raises(Exception, match="scratch"):
        recover.drill.fn(config=str(site.config), scratch=str(tmp_path / "nowhere"))
    assert [event["payload"]["result"] for event in seen["event"]] == ["undone"]
    site.config.write_text(f'home = "{site.home}"\n')
    skipped: Any = recover.drill.fn(config=str(site.config))
    assert (skipped.is_completed(), skipped.name, len(seen["event"])) == (True, "Skipped", 1)
    homes.create(tmp_path / "fresh")
    site.config.write_text(f'home = "{tmp_path / "fresh"}"\n[snapshots]\nstore = "{site.dr}"\n')
    skipped = recover.drill.fn(config=str(site.config))
    assert (skipped.name, len(seen["event"])) == ("Skipped", 1)


def test_the_flow_has_a_deployment() -> None:
    """At night, one at a time, with parameters that it takes."""
    from penstock.flows import recover

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (one,) = (each for each in deployments if each["entrypoint"] == "penstock.flows.recover:drill")
    recover.drill.validate_parameters(one["parameters"])
    assert recover.drill.retries == 0 and one["concurrency_limit"]["limit"] == 1
    assert one["schedules"][0]["cron"] == "15 4 * * *"


def test_the_questions_of_the_configuration_are_asked(
    world: Ingests, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a real ingest and a real `ship`, on three replicas: embedded for the first drill, and never again."""
    folder = world.home.parent
    (folder / "questions.txt").write_text("who decides\nwhat is kept\n")
    (folder / "penstock.toml").write_text(
        'home = "home"\n[index]\nreplicas = 3\nwrite_quorum = 2\n'
        '[snapshots]\nstore = "dr"\nduring_runs = false\nprobes = "questions.txt"\n'
    )
    for number in range(3):
        world.write(f"{number}.txt", f"text number {number}")
    world.ingest(config="penstock.toml")
    assert cli.main(["ship"]) == 0
    capsys.readouterr()
    for _ in range(2):
        assert cli.main(["drill", "--json"]) == 0
        (one,) = json.loads(capsys.readouterr().out)["drills"]
        assert (one["asked"], one["probes"], one["equal"]) == ("questions", 2, 2)
        monkeypatch.setattr(model_wiring, "encoder", pytest.fail)
    world.write("late.txt", "came late")
    world.ingest(config="penstock.toml")
    assert cli.main(["drill", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drills"][0]["lag_versions"] == 1


def test_a_bucket_is_drilled_with_its_own_credentials(
    site: Site,
    server: S3Server,  # noqa: F811 - the fixture, by its name
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its variables hold for `--from` as well; those of the index would lead nowhere. No secret is written anywhere."""
    url = f"s3://{server.bucket()}/dr"
    site.config.write_text(f'home = "{site.home}"\n[snapshots]\nstore = [{{ url = "{url}", variables = "DR_" }}]\n')
    secret = "a-secret-that-nobody-sees"
    keys = {**KEYS, "AWS_ENDPOINT_URL": server.url, "AWS_SECRET_ACCESS_KEY": secret}
    for name, value in keys.items():
        monkeypatch.setenv(f"DR_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert cli.main(["ship", "--config", str(site.config)]) == 0
    for more in ((), ("--from", url)):
        assert cli.main(["drill", "--config", str(site.config), *more]) == 0
    assert "7 of 7 passages" in (said := capsys.readouterr().out) and secret not in said
    assert not any(secret.encode() in data for data in files(site.home).values())
