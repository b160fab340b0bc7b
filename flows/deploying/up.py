"""A Prefect server, one worker and the deployments of one configuration, on this machine: brought up, and down again.

Down is the harder part. A worker that is told to end kills its flow runs where they stand, so they are stopped first:
the pool is paused, each run's process is asked to stop and finishes the commit in hand. Then the worker, then the
server. What ends otherwise, a second signal or SIGKILL, ends everything at once; what was committed stays, and the next
`up` says of the runs that were killed that they were.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock.flows.answers.exits import UNAVAILABLE
from penstock.flows.deploying import ledger, server, services
from penstock.flows.deploying.queues import LIMITS
from penstock.flows.deploying.server_api import Api, ApiFault

GRACE_SECONDS = 60.0
"""For the flow runs, to finish the commit in hand."""
_START_SECONDS = 180.0
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.2
_KILLED = "Its process was ended with penstock up. What it had committed stays, and the next run goes on from there."


class NotUp(Exception):
    """Something of it did not start, or ended. The message says where to look."""

    def __init__(self, message: str, code: int = UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """Somebody asked to stop before it was up."""


@dataclass(slots=True)
class Ended:
    """How it went down. `asked`: flow runs that were asked to stop; `killed`: those that did not within the grace."""

    asked: int = 0
    killed: int = 0


class Up:
    """One of them. `data`: the server's folder, locked; `environ`: what all are started with."""

    def __init__(
        self,
        data: Path,
        environ: Mapping[str, str],
        pool: str,
        *,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
        sleep: Callable[[float], None],
        clock: Callable[[], float],
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.data, self.pool = data, pool
        self.api = Api(environ["PREFECT_API_URL"], environ.get("PREFECT_API_AUTH_STRING", ""), sleep=sleep)
        self.ended = Ended()
        self._environ, self._mark = environ, environ[server.MARK]
        self._say, self._stopped, self._sleep, self._clock = say, stopped, sleep, clock
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._served, self._grace = False, grace

    def log(self, name: str) -> Path:
        """Where the output of `server`, `worker` or `deploy` goes."""
        return self.data / f"{name}.log"

    def serve(self) -> None:
        """Start the server; returns when it answers. Raises `NotUp`, `Stopped`."""
        self._start("server", "-m", "prefect", "server", "start")
        deadline = self._clock() + _START_SECONDS
        while not self.api.healthy():
            self._still("server")
            if self._clock() > deadline:
                raise NotUp(f"the server does not answer after {_START_SECONDS:.0f} s; {self.log('server')} says more")
            self._sleep(_LOOK_SECONDS)
        self._served = True
        self._mend()

    def deploy(self, words: list[str]) -> dict[str, Any]:
        """`penstock deploy` with these options: what it answered. Raises `NotUp`, `Stopped`."""
        answer = self.data / "deploy.json"
        answer.unlink(missing_ok=True)
        process = self._start("deploy", "-m", "penstock.flows.cli", "deploy", "--json", *words, out=answer)
        while process.poll() is None:
            self._still("server")
            self._sleep(_LOOK_SECONDS)
        del self._running["deploy"]
        try:
            said: dict[str, Any] = msgspec.json.decode(answer.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            raise NotUp(f"the deployments were not made; {self.log('deploy')} says more") from None
        if "error" in said:
            raise NotUp(said["error"]["message"], said["error"]["exit"])
        return said

    def limit(self) -> dict[str, int]:
        """Bound how many runs start at once, where nobody has: queue → how many. Raises `NotUp`."""
        try:
            return self.api.limited(self.pool, LIMITS)
        except ApiFault as fault:
            raise NotUp(str(fault)) from None

    def work(self) -> None:
        """Start the worker."""
        words = ("worker", "start", "--pool", self.pool, "--type", "process", "--name", "penstock-up")
        self._start("worker", "-m", "prefect", *words)

    def watch(self) -> None:
        """Until somebody asks to stop. Raises `NotUp` where server or worker ends by itself."""
        with suppress(Stopped):
            while True:
                for name in self._running:
                    self._still(name)
                self._sleep(_LOOK_SECONDS)

    def down(self) -> Ended:
        """Flow runs, worker, server: each is asked, and ended where it does not. Raises nothing."""
        self._stop("deploy")
        self._pause()
        self._stop_flows()
        self._stop("worker")
        if self._answers:
            self._mend()
        self._stop("server")
        services.end(self._mark, self.data, self._sleep)
        return self.ended

    def _start(self, name: str, *words: str, out: Path | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", *words]
        self._running[name] = services.start(command, self._environ, self.log(name), self.data, out)
        return self._running[name]

    def _still(self, name: str) -> None:
        if self._stopped():
            raise Stopped
        if (code := self._running[name].poll()) is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise NotUp(f"the {name} ended by itself ({how}); {self.log(name)} says more")

    def _stop(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is not None and process.poll() is None:
            self._say(f"stopping the {name} …")
            if not services.stop(process, _STOP_SECONDS):
                self._say(f"the {name} did not end within {_STOP_SECONDS:.0f} s, and was killed")

    def _pause(self) -> None:
        """Have no new runs picked up."""
        if "worker" not in self._running or not self._answers:
            return
        try:
            if self.api.hands_out(self.pool):
                ledger.pausing(self.data, self.pool)
                self.api.pause(self.pool, True)
        except ApiFault as fault:
            self._say(f"{fault}; runs that are picked up now are stopped as well")

    def _stop_flows(self) -> None:
        """Ask each flow run to stop, those that come late too; end those that are still there after the grace."""
        asked: set[int] = set()
        deadline = self._clock() + self._grace
        while (left := services.flow_runs(self._mark)) and self._clock() < deadline:
            new = [each for each in left if each.pid not in asked]
            if new:
                asked |= {each.pid for each in new}
                what = "1 flow run is" if len(left) == 1 else f"{len(left)} flow runs are"
                self._say(f"{what} asked to stop: the commit in hand is finished, {self._grace:.0f} s at most …")
            for each in new:
                services.ask(each)
            self._sleep(_LOOK_SECONDS)
        self.ended.asked, self.ended.killed = len(asked), len(left)
        if left:
            self._say(f"{len(left)} did not stop in time and are killed; nothing that was committed is lost")
            services.kill(left, self.data)

    @property
    def _answers(self) -> bool:
        there = self._running.get("server")
        return there is not None and there.poll() is None and self._served

    def _mend(self) -> None:
        """Say of runs that were killed that they were, and hand out runs again. What cannot be done now is left."""
        try:
            for run in sorted(ledger.remembered(self.data)):
                self.api.crashed(run, _KILLED)
            ledger.forget(self.data)
            if pool := ledger.paused(self.data):
                self.api.pause(pool, False)
                ledger.resumed(self.data)
        except ApiFault as fault:
            self._say(f"{fault}; the next penstock up makes up for it")


@contextmanager
def taken(data: Path, port: int, mark: str, sleep: Callable[[float], None]) -> Iterator[int]:
    """The folder, locked and watched; what somebody who was killed left is ended. Gives how many processes that was.

    Whatever ends us, all that has the mark ends with us. Raises `ledger.Busy`.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ledger.locked(data, ledger.Who(mark, os.getpid(), port), sleep) as (held, before):
        stale = services.end(before.mark, data, sleep) if before.mark else 0
        with services.watched(mark, data, held):
            yield stale
