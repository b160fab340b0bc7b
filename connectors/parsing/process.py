"""One parser process, seen from outside: started, asked, and killed when its time is up."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from penstock.connectors.parsing.environment import parser_environment
from penstock.connectors.parsing.wire import LENGTH, Ask, Begun, Message, Ready, Verdict, packed

_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_START_SECONDS = 60.0
_LARGEST_ANSWER = 1 << 30


class Died(Exception):
    """The process ended without an answer. `signal` is what killed it, 0 if it ended by itself."""

    def __init__(self, code: int, begun: Begun | None) -> None:
        self.code = code
        self.signal = -code if code < 0 else 0
        self.begun = begun
        super().__init__(signal.Signals(self.signal).name if self.signal else f"exit status {code}")


class Overdue(Exception):
    """No answer within the time allowed; the process has been killed."""

    def __init__(self, begun: Begun | None) -> None:
        super().__init__("no answer in time")
        self.begun = begun


class ParseProcess:
    """Not for several threads at once. After `Died` or `Overdue` it is dead; `kill` may be repeated."""

    def __init__(self, command: Sequence[str], memory_bytes: int, setup: str) -> None:
        """Starts the process. It dies with the *thread* that calls this: call it from one that stays."""
        self.asked = 0
        self._process = subprocess.Popen(
            [*command, str(memory_bytes), str(os.getpid()), setup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=parser_environment(os.environ),
        )
        assert self._process.stdin and self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._buffer = bytearray()

    def await_ready(self) -> None:
        """Raises `Died` or `Overdue` when the process does not come up."""
        message = self._message(time.monotonic() + _START_SECONDS, None)
        if not isinstance(message, Ready):
            self._dead(None)

    def ask(self, request: Ask, seconds: float) -> tuple[Begun, Verdict]:
        """Raises `Died` or `Overdue`, after `seconds`."""
        deadline = time.monotonic() + seconds
        self.asked += 1
        self._buffer.clear()
        try:
            os.write(self._in, packed(request))  # a few hundred bytes: a pipe takes them whole
        except BrokenPipeError:
            self._dead(None)
        begun = self._message(deadline, None)
        if not isinstance(begun, Begun):
            self._dead(None)
        verdict = self._message(deadline, begun)
        if isinstance(verdict, Ready | Begun):
            self._dead(begun)
        return begun, verdict

    def stop(self) -> None:
        """Ends the process and leaves the rest to the thread that waits for its answer."""
        self._end()

    def kill(self) -> int:
        """Ends the process and gives its exit status, as `subprocess` counts it."""
        self._end()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _end(self) -> None:
        """It and whatever it started: a plug-in may run programs. The group is its own until it has been waited for."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()  # it has not come to its own session yet

    def _message(self, deadline: float, begun: Begun | None) -> Message:
        size = LENGTH.unpack(self._take(LENGTH.size, deadline, begun))[0]
        if size > _LARGEST_ANSWER:
            self._dead(begun)
        try:
            return _DECODER.decode(self._take(size, deadline, begun))
        except msgspec.MsgspecError:
            self._dead(begun)

    def _take(self, size: int, deadline: float, begun: Begun | None) -> bytes:
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self.kill()
                raise Overdue(begun)
            if not (some := os.read(self._out, 1 << 20)):
                self._dead(begun)
            self._buffer += some
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _dead(self, begun: Begun | None) -> NoReturn:
        """Its pipe is closed or talks nonsense: let it end by itself for a moment, to learn what it died of."""
        watched = os.pidfd_open(self._process.pid)
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            ended = bool(poll.poll(500))
        finally:
            os.close(watched)
        code = self.kill()  # only now is it waited for: until then its group can be found
        raise Died(code if ended else 1, begun)
