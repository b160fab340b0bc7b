"""The processes of `penstock up`: started so that none outlives it, found again by a mark, ended in the right order.

A mark in the environment of everything that is started passes on to all that is started in turn: so the process of a
flow run is known, and whatever is left, too. A child that we started dies with us, by the kernel; what the worker
started is ended by the watchman (`watchman.py`), who learns of our death by a pipe.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.flows.deploying import ledger
from penstock.flows.deploying.server import MARK

_PR_SET_PDEATHSIG = 1
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Marked:
    """A process of ours. `flow_run`: the id of the run that it, or the process that started it, executes."""

    pid: int
    parent: int
    flow_run: str | None


def start(
    command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path, answer: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`, its output added to `log`; its stdout to `answer`, if that is given. It hears no
    Ctrl-C, and dies with this thread.

    Call it from the main thread, and while there is no other.
    """
    us = os.getpid()

    def confine() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:
            os._exit(0)  # we died before the line above

    with open(log, "ab") as err, open(answer, "wb") if answer else nullcontext(err) as out:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=confine,
        )


@contextmanager
def watched(mark: str, data: Path, held: int) -> Iterator[None]:
    """While inside there is a watchman; when we leave, or are killed, he ends what has the mark.

    `held`: the descriptor of the lock on `data`, which is his, too, until he is done.
    """
    ear, mouth = os.pipe()
    command = [sys.executable, "-P", "-m", "penstock.flows.deploying.watchman", mark, str(data)]
    nothing = subprocess.DEVNULL
    watchman = subprocess.Popen(
        command, stdin=ear, stdout=nothing, stderr=nothing, pass_fds=(held,), start_new_session=True
    )
    os.close(ear)
    try:
        yield
    finally:
        os.close(mouth)
        watchman.wait()


def marked(mark: str) -> Iterator[Marked]:
    """Every living process that has the mark."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile, or is somebody else's
            environ = (folder / "environ").read_bytes().split(b"\0")
            if wanted in environ:
                of = next((each for each in environ if each.startswith(f"{_FLOW_RUN}=".encode())), b"")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                yield Marked(int(folder.name), parent, of.partition(b"=")[2].decode() or None)


def flow_runs(mark: str) -> list[Marked]:
    """The processes that execute flow runs, without those that they started themselves."""
    there = list(marked(mark))
    of = {each.pid: each.flow_run for each in there}
    return [each for each in there if each.flow_run and of.get(each.parent) != each.flow_run]


def ask(process: Marked) -> None:
    """Ask it to stop: penstock's flows finish the commit in hand."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)


def kill(runs: Sequence[Marked], data: Path) -> None:
    """End these at once. That they were is written down in `data` first: who did it may not live to say so."""
    ledger.killed(data, {each.flow_run for each in runs if each.flow_run})
    for each in runs:
        with suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)


def end(mark: str, data: Path, sleep: Callable[[float], None]) -> int:
    """End at once whatever has the mark; runs that die by it are written down in `data`. Returns how many processes."""
    ended: set[int] = set()
    while there := list(marked(mark)):
        kill(there, data)
        ended |= {each.pid for each in there}
        sleep(_PAUSE)
    return len(ended)


def stop(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Ask it to end, and end it after so long. Whether it ended by itself."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
