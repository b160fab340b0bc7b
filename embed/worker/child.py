"""The process that an encoder lives in: loads one model, and computes what is laid before it until it is told to end.

Run by `WorkerEncoder` as `python -P -m penstock.embed.worker.child PARENT DESCRIPTOR`. Nothing of it reaches a
terminal: records and warnings go to the encoder as messages, and what libraries print goes into a pipe of its own. It
dies with the thread that started it, at once, also in the middle of a batch.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import msgspec

from penstock.embed.types import Encoder
from penstock.embed.worker.desk import Desk
from penstock.embed.worker.wire import (
    LARGEST,
    MOST_TEXT,
    Ask,
    Bye,
    Compute,
    FromProcess,
    Load,
    Ready,
    Said,
    Stop,
    ToProcess,
    Work,
    failed,
)

_PR_SET_PDEATHSIG = 1
_DECODER: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)


def main() -> None:
    """Until `Bye`, or until nobody is at the other end."""
    _confine(parent=int(sys.argv[1]))
    line = Line(int(sys.argv[2]))
    threading.Thread(target=line.exit_when_alone, name="alone", daemon=True).start()
    load, _ = line.hear()
    assert isinstance(load, Load)
    logging.basicConfig(level=load.level, handlers=[ToLine(line)], format="%(message)s")
    logging.captureWarnings(True)
    try:
        module, _, name = load.engine.partition(":")
        encoder: Encoder = getattr(importlib.import_module(module), name)(load.spec)
    except Exception as error:
        line.say(failed(0, error))
        return
    line.say(_introduced(encoder))
    _serve(Desk(encoder, line.say, line.spoken), line)
    encoder.close()


def _serve(desk: Desk, line: Line) -> None:
    while True:
        match line.hear():
            case Work() as work, int() as fd:
                desk.lay(work, fd)
            case Compute() as group, _:
                desk.compute(group)
            case Ask() as ask, int() as fd:
                desk.answer(ask, fd)
            case Bye(), _:
                return
            case Stop(), _:
                desk.clear()
            case other, _:
                raise ValueError(f"{type(other).__name__} was not expected")


def _introduced(encoder: Encoder) -> Ready:
    longest = int(getattr(encoder, "max_tokens", 0))
    return Ready(encoder.dim, longest, encoder.identity, encoder.provenance, announces=hasattr(encoder, "announce"))


def _confine(parent: int) -> None:
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us when it is done
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before the line above
    with contextlib.suppress(OSError):  # where memory runs out, we can be started again; the parent cannot
        Path("/proc/self/oom_score_adj").write_text("500")


class Line:
    """The connection to the encoder: whole messages, from any thread."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)  # whatever the engine starts shall not keep it open

    def say(self, message: FromProcess) -> None:
        self._socket.send(msgspec.msgpack.encode(message))

    def hear(self) -> tuple[ToProcess, int | None]:
        """The next message, and the descriptor that came with it. Ends the process when nobody speaks any more."""
        packet, fds, _, _ = socket.recv_fds(self._socket, LARGEST, 1)
        if not packet:
            os._exit(0)
        return _DECODER.decode(packet), fds[0] if fds else None

    def spoken(self) -> bool:
        """Whether a message waits to be heard."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def exit_when_alone(self) -> None:
        """Ends the process when the other end is closed, whatever else it does."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        poll.poll()
        os._exit(0)


class ToLine(logging.Handler):
    """Records go to the encoder, which logs them under the same name."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        for start in range(0, max(len(text), 1), MOST_TEXT):
            with contextlib.suppress(OSError):
                self._line.say(Said(record.name, record.levelno, text[start : start + MOST_TEXT]))


if __name__ == "__main__":
    main()
    os._exit(0)  # what a device's library does at the end of a process can take seconds, or for ever
