"""`penstock up`: one command to a running system, and what is left of it when it ends this way or that."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from penstock.flows.deploying import ledger, server, services
from penstock.flows.deploying.server_api import Api
from penstock.flows.deploying.up import NotUp, Up
from penstock.index.reading.reader import Reader
from tests.fakes.embeddings_server import Embeddings, vector
from tests.fakes.rough.serving import Serving
from tests.flows.prefect_server import BIN, FINAL, asked, free_port

FEW, MANY = 5, 400
PATIENCE = 240.0
CONFIG = """
home = "home"
[embed]
model = "fake-embed"
chunk_tokens = 256
[embed.endpoint]
url = "{url}/v1"
allow = ["127.0.0.0/8"]
max_items = 4
concurrency = 2
[prefect]
maintenance = false
[sources.docs]
path = "docs"
schedule = "every 10s"
"""


class Place:
    """A folder with a configuration, documents, and an endpoint whose pace is ours."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.docs, self.home = folder, folder / "docs", folder / "home"
        self.data, self.port = self.home / "prefect", free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.app = Embeddings()
        self.written = 0
        self.started: list[subprocess.Popen[str]] = []
        self.docs.mkdir()

    def write(self, count: int) -> None:
        for number in range(self.written, self.written + count):
            text = " ".join(f"Document {number} says in sentence {line} what is kept." for line in range(12))
            (self.docs / f"{number:05}.txt").write_text(text)
        self.written += count

    def command(self, *words: str) -> list[str]:
        return [str(BIN / "penstock"), "up", "--json", "--port", str(self.port), *words]

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        elsewhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(self.folder / "not-used")}
        return kept | elsewhere | {"PENSTOCK_SLOTS": str(self.folder / "slots"), "OMP_NUM_THREADS": "1"}

    def up(self) -> subprocess.Popen[str]:
        with open(self.folder / "err.txt", "a") as err:
            process = subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environ(), stdout=subprocess.PIPE, stderr=err, text=True
            )
        self.started.append(process)
        return process

    def refused(self, *words: str, cwd: Path | None = None) -> tuple[int, str]:
        """(exit code, message) of an `up` that does not come up."""
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.folder,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done.returncode, json.loads(done.stdout)["error"]["message"]

    def flow_runs(self) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = asked("POST", f"{self.api}/flow_runs/filter", {}).json()
        return sorted(said, key=lambda run: run["start_time"] or "9")

    def running(self) -> str:
        """The id of the run that is at work, "" if none is."""
        return next((run["id"] for run in self.flow_runs() if run["state_name"] == "Running"), "")

    def indexed(self) -> int:
        try:
            with Reader.open(self.home) as reader:
                return int(reader.manifest.counts.get("documents", 0))
        except Exception:
            return 0

    def until(self, true: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := true()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return found

    def said(self) -> str:
        logs = [self.folder / "err.txt", *self.data.glob("*.log")]
        return "\n".join(f"── {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.exists())

    def mid_run(self) -> str:
        """The id of a run that has committed something, and has more to do."""
        before = self.indexed()
        self.app.latency = 0.1
        self.write(MANY)
        self.until(lambda: self.indexed() > before)
        assert self.indexed() < before + MANY
        return str(self.until(self.running))

    def free(self) -> bool:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return tried.connect_ex(("127.0.0.1", self.port)) != 0


def answer(process: subprocess.Popen[str], place: Place) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, place.said()
    found: dict[str, Any] = json.loads(line)
    return found


def answered(place: Place) -> list[Any]:
    """What the server does with what `up` asks of it: a run whose process is gone, a pool that waits."""
    flow = asked("POST", f"{place.api}/flows/", {"name": "somebody's"}).json()["id"]
    state = {"type": "RUNNING", "name": "Running"}
    run = asked("POST", f"{place.api}/flow_runs/", {"flow_id": flow, "state": state}).json()["id"]
    pool = {"name": "other", "type": "process"}
    asked("POST", f"{place.api}/work_pools/", pool)
    api = Api(place.api, sleep=time.sleep)
    found: list[Any] = [api.crashed(run, "gone"), api.crashed(run, "again"), api.crashed(str(uuid4()), "nobody's")]
    after = asked("GET", f"{place.api}/flow_runs/{run}").json()
    found += [after["state_type"], after["state"]["message"], api.hands_out("other")]
    api.pause("other", True)
    found += [
        api.hands_out("other"),
        api.hands_out("none"),
        api.healthy(),
        Api("http://127.0.0.1:9/api", sleep=time.sleep).healthy(),
    ]
    return found


def mark_of(place: Place) -> str:
    mark: str = json.loads((place.data / "up.lock").read_text())["mark"]
    return mark


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What was seen: brought up, stopped by SIGTERM in the middle of a run, brought up again, killed in another."""
    place = Place(tmp_path_factory.mktemp("up"))
    place.write(FEW)
    seen: dict[str, Any] = {"place": place}
    with Serving(place.app) as endpoint:  # type: ignore[arg-type]
        (place.folder / "penstock.toml").write_text(CONFIG.format(url=endpoint.url))
        try:
            first = place.up()
            seen["ready"] = answer(first, place)
            place.until(lambda: place.indexed() == FEW)
            seen["settings"] = asked("GET", f"{place.api}/admin/settings").json()
            seen["automations"] = asked("POST", f"{place.api}/automations/filter", {}).json()
            queues = asked("POST", f"{place.api}/work_pools/penstock/queues/filter", {}).json()
            seen["limits"] = {each["name"]: each["concurrency_limit"] for each in queues}
            changed = {"concurrency_limit": 3}
            asked("PATCH", f"{place.api}/work_pools/penstock/queues/scheduled", changed)
            seen["metrics"] = asked("GET", f"{place.api}/metrics").status_code
            seen["busy"] = place.refused("--port", str(free_port()))
            seen["port"] = place.refused("--data", str(place.folder / "other"))
            with Reader.open(place.home) as reader:
                seen["hits"] = [hit.uri for hit in reader.search(vector("Document 3 says")[None], FEW)[0]]
            seen["asked"] = answered(place)
            seen["stopped run"] = place.mid_run()
            first.terminate()
            seen["end"], seen["code"] = answer(first, place), first.wait(PATIENCE)
            seen["left"], seen["free"] = list(services.marked(mark_of(place))), place.free()
            seen["committed"] = place.indexed()

            second = place.up()
            seen["again"] = answer(second, place)
            place.app.latency = 0.0
            seen["runs"] = {run["id"]: run for run in place.flow_runs()}
            place.until(lambda: place.indexed() == FEW + MANY)
            seen["killed run"] = place.mid_run()
            seen["mark"] = mark_of(place)
            seen["before the kill"] = list(services.marked(seen["mark"]))
            second.kill()
            second.wait()
            yield seen
        finally:
            for process in place.started:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


def test_one_command_brings_all_of_it_up(story: dict[str, Any]) -> None:
    """Server, worker, deployments and automations; it says where, and what is scheduled."""
    ready, place = story["ready"], story["place"]
    assert (ready["ready"], ready["api"], ready["data"]) == (True, place.api, str(place.data))
    by_name = {each["name"]: each for each in ready["deployments"]}
    assert by_name["penstock-ingest/ingest-docs"]["schedule"] == "every 10s"
    assert "penstock-urgent/urgent" in by_name
    assert len(story["automations"]) == len(ready["automations"]) > 5


def test_a_scheduled_run_happens_by_itself(story: dict[str, Any]) -> None:
    """Nobody started one, and its documents can be searched."""
    assert sorted(story["hits"]) == [f"docs/{number:05}.txt" for number in range(FEW)]
    assert all(run["auto_scheduled"] for run in story["runs"].values() if run["deployment_id"])


def test_nothing_calls_out_and_nothing_is_held_for_good(story: dict[str, Any]) -> None:
    """Of the server's settings those count that a look at it needs; the user's own are neither used nor changed."""
    settings, place = story["settings"]["server"], story["place"]
    assert settings["analytics_enabled"] is False
    assert (settings["ui"]["v2_enabled"], settings["ui"]["show_promotional_content"]) == (False, False)
    assert settings["ui"]["api_url"] == place.api
    assert settings["concurrency"]["lease_storage"].endswith("filesystem")
    assert story["metrics"] == 200
    assert not (place.folder / "not-used").exists()
    assert "PREFECT_API_URL is http://127.0.0.1:9/api: not used here" in (place.folder / "err.txt").read_text()


def test_a_burst_of_runs_is_bounded_and_what_is_urgent_is_not(story: dict[str, Any]) -> None:
    """Where nobody said how many; what somebody said stays."""
    assert story["ready"]["limits"] == {"scheduled": 4, "backfill": 2}
    assert [story["limits"].get(name) for name in ("urgent", "scheduled", "backfill")] == [None, 4, 2]
    assert story["again"]["limits"] == {"scheduled": 3, "backfill": 2}


def test_a_second_one_is_refused_and_named(story: dict[str, Any]) -> None:
    """The folder is in use, or the port is: exit code 2, and the first goes on."""
    code, said = story["busy"]
    assert code == 2 and f"process {story['ready']['pid']}" in said
    code, said = story["port"]
    assert code == 2 and f"port {story['place'].port} is not free" in said


def test_a_run_whose_process_is_gone_is_said_to_have_crashed(story: dict[str, Any]) -> None:
    """Once, with the reason, and only if it had not ended; a pool that is paused, or not there, hands out nothing."""
    assert story["asked"] == [True, False, False, "CRASHED", "gone", True, False, False, True, False]


def test_sigterm_stops_the_run_before_the_worker(story: dict[str, Any]) -> None:
    """The run finishes the commit in hand and ends by itself, in a state that says it was stopped."""
    assert story["end"] == {"ok": True, "stopped": True, "flow_runs": {"asked": 1, "killed": 0}}
    assert story["code"] == 0
    run = story["runs"][story["stopped run"]]
    assert run["state_type"] in FINAL and "deferred" in run["state"]["message"], run["state"]
    assert FEW < story["committed"] < FEW + MANY


def test_a_stop_leaves_no_process_and_frees_the_port(story: dict[str, Any]) -> None:
    """Not even one of the run's own children."""
    assert story["left"] == [] and story["free"]


def test_up_again_goes_on(story: dict[str, Any]) -> None:
    """The pool hands out runs again, and the next one does what was left."""
    assert story["killed run"] not in (story["stopped run"], "")
    assert not (story["place"].data / "paused").exists()


def test_sigkill_leaves_no_server_worker_or_flow(story: dict[str, Any]) -> None:
    """The kernel and the watchman end what it started; which runs that hit is written down for the next one."""
    place = story["place"]
    assert any(each.flow_run == story["killed run"] for each in story["before the kill"])
    place.until(lambda: not list(services.marked(story["mark"])))
    place.until(place.free)  # a process that dies lets go of its memory before its sockets
    assert story["killed run"] in ledger.remembered(place.data)


def test_without_a_configuration_it_says_what_to_write(tmp_path: Path) -> None:
    """Exit code 2; nothing is made."""
    code, said = Place(tmp_path).refused()
    assert code == 2 and "there is no penstock.toml here" in said and "[sources.docs]" in said
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]


def test_the_children_are_told_of_this_server_only() -> None:
    """What leads to another Prefect is left out, the rest of the user's settings stays."""
    told = server.environment(
        {"PREFECT_API_URL": "https://api.example.com", "PREFECT_API_KEY": "k", "PREFECT_PROFILE": "work",
         "PREFECT_SERVER_DATABASE_CONNECTION_URL": "x", "PREFECT_LOGGING_LEVEL": "DEBUG", "LANG": "C"},
        Path("/data"), 4201, "mark",
    )  # fmt: skip
    assert told["PREFECT_API_URL"] == told["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4201/api"
    assert {"PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} & set(told) == set()
    assert (told["PREFECT_LOGGING_LEVEL"], told["LANG"], told["PREFECT_HOME"]) == ("DEBUG", "C", "/data")


@pytest.mark.parametrize(
    "url, said",
    [
        ("", None),
        ("http://127.0.0.1:4200/api/", None),
        ("http://localhost:4200/api", None),
        ("http://h/api", "http://h/api"),
    ],
)
def test_another_server_is_noticed(url: str, said: str | None) -> None:
    """Whose PREFECT_API_URL leads elsewhere is told that it does not count."""
    assert server.led_elsewhere({"PREFECT_API_URL": url}, 4200) == said


def test_what_hides_from_its_parent_is_found_by_its_mark(tmp_path: Path) -> None:
    """A grandchild in a session of its own, whose parent has gone: it is ended, and its run is written down."""
    script = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    environ = {**os.environ, server.MARK: "hidden", "PREFECT__FLOW_RUN_ID": "run-1"}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True)
    (process,) = services.flow_runs("hidden")
    assert process.flow_run == "run-1"
    assert services.end("hidden", tmp_path, time.sleep) == 1
    assert list(services.marked("hidden")) == []
    assert ledger.remembered(tmp_path) == {"run-1"}


def test_a_folder_is_one_ups_at_a_time(tmp_path: Path) -> None:
    """The second is told who the first is; after the first it learns who that was, to look for what it left."""
    us = ledger.Who("one", os.getpid(), 4200)
    with ledger.locked(tmp_path, us, lambda _: None):
        with pytest.raises(ledger.Busy) as busy, ledger.locked(tmp_path, us, lambda _: None):
            pass
        assert busy.value.who == us
    with ledger.locked(tmp_path, ledger.Who("two", 1, 1), lambda _: None) as (_, before):
        assert before == us


def test_a_server_that_does_not_start_is_said_with_its_log(tmp_path: Path) -> None:
    """At once, not after the patience for one that is slow."""
    up = alone(tmp_path, PYTHONHOME="/nowhere")
    with pytest.raises(NotUp, match=f"the server ended by itself .*{tmp_path}/server.log"):
        up.serve()
    assert (up.down().asked, up.log("server").exists()) == (0, True)


def test_a_run_that_does_not_stop_is_killed_after_the_grace(tmp_path: Path) -> None:
    """It was asked; that it was killed is said, and written down for the next one."""
    said: list[str] = []
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    environ = {**os.environ, server.MARK: "alone", "PREFECT__FLOW_RUN_ID": "run-2"}
    with subprocess.Popen([sys.executable, "-c", script], env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"deaf\n"
        ended = alone(tmp_path, said).down()
        assert process.wait() == -signal.SIGKILL
    assert (ended.asked, ended.killed) == (1, 1)
    assert "1 did not stop in time" in said[-1]
    assert ledger.remembered(tmp_path) == {"run-2"}


def alone(data: Path, said: list[str] | None = None, **environ: str) -> Up:
    """One that nothing was started for yet."""
    told = server.environment(os.environ | environ, data, free_port(), "alone")
    say = ([] if said is None else said).append
    return Up(data, told, "penstock", say=say, stopped=lambda: False, sleep=time.sleep, clock=time.monotonic, grace=0.5)


def test_a_child_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    """By the kernel, also where that one is killed."""
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom penstock.flows.deploying import services\n"
        "here = Path(sys.argv[1])\n"
        "process = services.start(['sleep', '600'], {**os.environ, 'PENSTOCK_UP': 'short'}, here / 'log', here)\n"
        "print(process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and done.stdout.strip()
    deadline = time.monotonic() + 90
    while list(services.marked("short")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
