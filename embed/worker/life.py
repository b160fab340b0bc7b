"""One life of the process, seen from outside: started, spoken to, listened to, and ended."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from penstock.embed.worker.wire import LARGEST, Bye, FromProcess, Load, Ready, Said, ToProcess

_log = logging.getLogger("penstock.embed.worker")
_DECODER: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)
_SLICE = 1.0
_REAP_SECONDS = 0.5
_KILL_SECONDS = 10.0
_TAIL, _LINE = 40, 300


class Died(Exception):
    """The process is gone, or was given up and killed. `str(error)` says in one line what it did: "was killed by …"."""


class Life:
    """Not for several threads at once, but for `kill`. After `Died` it is dead and has been waited for."""

    def __init__(self, load: Load, clock: Callable[[], float]) -> None:
        """Starts the process and has it load. It dies with the *thread* that calls this: call it from one that stays.

        Raises OSError if there can be no process.
        """
        self.ready: Ready | None = None
        self.job = 0
        """The piece of work that lies before it."""
        self.waited = 0.0
        """Seconds that the last message was waited for."""
        self._clock = clock
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._line, self._mute = b"", False
        self._given_up = self._why = ""
        self._reaping, self._listening = threading.Lock(), threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            for end in (self._socket, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST * 4)
            try:
                self._process = _started(theirs.fileno())
            except BaseException:
                self._socket.close()
                raise
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._pidfd = os.pidfd_open(self._process.pid)
        self._socket.setblocking(False)
        os.set_blocking(self._output.fileno(), False)
        self.send(load)

    @property
    def pid(self) -> int:
        """Its process id, for people and tests."""
        return self._process.pid

    def send(self, message: ToProcess, fd: int | None = None) -> None:
        """Say this, with a descriptor. If it is dead, whoever listens next learns of it. Raises `Died`."""
        if self._socket.fileno() < 0:
            return
        packet = msgspec.msgpack.encode(message)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                socket.send_fds(self._socket, [packet], [] if fd is None else [fd])
            except BlockingIOError:
                raise self.given_up("did not listen") from None

    def next(self, patience: float, silent: Callable[[float], None] = lambda waited: None) -> FromProcess:
        """What it says next; records go to the log. Raises `Died`, also when it says nothing for `patience` seconds.

        `silent` is told every second at least how many it has been waited for.
        """
        with self._listening:
            self.waited = 0.0
            while True:
                message = self._heard()
                if message is not None and not isinstance(message, Said):
                    return message
                if message is None:
                    if self.waited >= patience:
                        raise self.given_up(f"was silent for {patience:g} s")
                    self.waited += self._wait(min(_SLICE, patience - self.waited))
                    if self.waited < patience:
                        silent(self.waited)

    def given_up(self, why: str) -> Died:
        """Kill it for this reason; gives what to raise."""
        self._given_up = why
        return self._over()

    def end(self, seconds: float) -> None:
        """Have it end, within so many seconds, or kill it. While another thread listens, it is killed at once."""
        if not self._listening.acquire(blocking=False):
            self.kill()
            return
        try:
            self.send(Bye())
            waited = 0.0
            while waited < seconds:
                while self._heard():
                    pass
                waited += self._wait(min(_SLICE, seconds - waited))
            self.given_up("did not end")
        except Died:
            pass
        finally:
            self._listening.release()

    def kill(self) -> None:
        """End it now, whatever it does; whoever listens meanwhile hears that it died. From any thread."""
        with self._reaping:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # and whatever it started, such as compilers
                self._process.kill()  # it may not have come to a session of its own yet

    def _wait(self, seconds: float) -> float:
        """Until there is something to hear, or `seconds`. Gives the seconds that count: not those we stood still."""
        started = self._clock()
        poll = select.poll()
        for fd in (self._socket.fileno(), self._pidfd, *(() if self._mute else (self._output.fileno(),))):
            poll.register(fd, select.POLLIN)
        poll.poll(seconds * 1000)
        self._read_output()
        return min(self._clock() - started, seconds)

    def _heard(self) -> FromProcess | None:
        """A message that is there already. Raises `Died` when there is none and never will be."""
        if self._socket.fileno() < 0:
            raise Died(self._why)
        packet = self._packet()
        if packet is None and _ended(self._pidfd, 0):
            packet = self._packet() or b""  # it may have spoken between our two looks
        if packet is None:
            return None
        if not packet:
            raise self._over()
        try:
            message = _DECODER.decode(packet)
        except msgspec.MsgspecError as error:
            raise self.given_up(f"said what nobody understands ({error})") from error
        if isinstance(message, Said):
            logging.getLogger(message.name).log(message.level, "%s", message.text)
        return message

    def _packet(self) -> bytes | None:
        """None if there is nothing now, b"" if there is nothing any more."""
        for _ in range(2):
            try:
                return self._socket.recv(LARGEST)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                pass  # said once, when it ended without having heard all; what it said before can still be read
        return b""

    def _over(self) -> Died:
        """See it dead, wait for it, let go of everything; gives of what it died."""
        if self._socket.fileno() < 0:
            return Died(self._why)
        by_itself = _ended(self._pidfd, 0 if self._given_up else _REAP_SECONDS)
        self.kill()
        if _ended(self._pidfd, _KILL_SECONDS):
            with self._reaping:
                self._process.wait()
        self._read_output()
        for end in (self._socket, self._output):
            end.close()
        os.close(self._pidfd)
        self._why = self._given_up or _cause(self._process.returncode, by_itself, self._tail)
        return Died(self._why)

    def _read_output(self) -> None:
        """What libraries print: to the log, and kept for the case that it says why."""
        while not self._mute:
            try:
                some = os.read(self._output.fileno(), 1 << 16)
            except BlockingIOError:
                return
            self._mute = not some
            *lines, self._line = (self._line + (some or b"\n")).split(b"\n")
            for line in lines:
                if text := line.decode(errors="replace").rstrip():
                    self._tail.append(text[:_LINE])
                    _log.info("process %d: %s", self.pid, text)


def _started(fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock.embed.worker.child", str(os.getpid()), str(fd)],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,  # a Ctrl-C is for us, who end it when we are done
    )


def _ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _cause(code: int | None, by_itself: bool, tail: Iterable[str]) -> str:
    if code is None:
        return "cannot be killed: the device's driver holds it"
    if not by_itself:
        return "closed its connection"
    if code >= 0:
        return f"ended with exit status {code}{_last_words(tail)}"
    if -code == signal.SIGKILL:
        return "was killed by SIGKILL, as the system does when memory runs out"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}{_last_words(tail)}"


def _last_words(tail: Iterable[str]) -> str:
    """Of what it printed, that which says why."""
    lines = [line for line in tail if not line.startswith((" ", "\t"))]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    words = " | ".join(fatal[-1:] or lines[-2:])
    return f" ({words})" if words else ""
