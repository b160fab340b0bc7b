"""The parser process: one hostile file after the other, in a place where it can do no harm.

Run by `ParserPool` as `python -P -m penstock.connectors.parsing.worker`. Questions come on stdin, answers go
to what was stdout; libraries that print reach neither. It dies with the thread that started it.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import math
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from penstock.connectors.parsing.bounds import Bounds
from penstock.connectors.parsing.chain import Chain, Parse, parse_kind
from penstock.connectors.parsing.plugins import Setup, load
from penstock.connectors.parsing.wire import (
    LENGTH,
    Ask,
    Begun,
    Gone,
    Ready,
    Text,
    Trouble,
    Unfit,
    Verdict,
    packed,
)
from penstock.connectors.types import Failed

_PR_SET_PDEATHSIG = 1
_READS = 3
_SETTLED_NS = 50_000_000


class Unread(msgspec.Struct, frozen=True):
    """A file that was not read, and the version it had."""

    verdict: Verdict
    version: str = ""


def main(parse: Parse = parse_kind, clock: Callable[[], int] = time.time_ns) -> None:  # noqa: TID251 - a process of its own has no caller to hand it a clock
    """Answers until stdin closes. Arguments: the memory limit in bytes, the parent's process id, `Setup` as JSON."""
    memory, parent = int(sys.argv[1]), int(sys.argv[2])
    _confine(memory, parent)
    answers = _private_stdout()
    wanted = msgspec.json.decode(sys.argv[3], type=Setup)
    chain = Chain(load(wanted), dict(wanted.route), parse)
    questions = sys.stdin.buffer
    answers.write(packed(Ready()))
    answers.flush()
    ask = msgspec.msgpack.Decoder(Ask)
    while len(head := questions.read(LENGTH.size)) == LENGTH.size:
        request = ask.decode(questions.read(LENGTH.unpack(head)[0]))
        _bound_cpu(request.cpu_seconds)
        answers.write(_answer(request, chain, clock, answers))
        answers.flush()


def _confine(memory: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us when it is done
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before the line above
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)


def _bound_cpu(seconds: float) -> None:
    """Holds even when the parent, whose clock bounds the rest, is stopped."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _private_stdout() -> BinaryIO:
    own = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return os.fdopen(own, "wb")


def _answer(request: Ask, chain: Chain, clock: Callable[[], int], answers: BinaryIO) -> bytes:
    """One framed verdict; whatever the parser raises becomes one."""
    try:
        began = time.process_time()
        verdict = _verdict(request, chain, clock, answers)
        if isinstance(verdict, Text):
            verdict = msgspec.structs.replace(verdict, cpu=time.process_time() - began)
        return packed(verdict)
    except MemoryError:
        pass  # leave the handler before answering: its traceback holds what filled the memory
    return packed(Unfit("too_much_memory", "more memory was needed than the limit allows", last=True))


def _verdict(request: Ask, chain: Chain, clock: Callable[[], int], answers: BinaryIO) -> Verdict:
    found = read_steady(request.path, request.name, request.max_bytes, clock, resolved=request.resolved)
    if isinstance(found, Unread):
        answers.write(packed(Begun(kind="none", content="", version=found.version)))
        return found.verdict
    data, version = found
    content = hashlib.sha256(data).hexdigest()
    kind, refused = chain.kind(data, request.name)
    answers.write(packed(Begun(kind=kind, content=content, version=version)))
    answers.flush()
    return chain.verdict(kind, refused, data, request.name, Bounds(text=request.max_text))


def read_steady(
    path: bytes, name: str, limit: int, clock: Callable[[], int], *, resolved: bool = False
) -> tuple[bytes, str] | Unread:
    """The bytes of a regular file and the version token that is theirs, or why they could not be had.

    The file is read again when it changed meanwhile. A token whose time is too close to now is marked, and
    so equals no other: a rewrite in the same tick of the file system's clock could not be told apart. `resolved`:
    what is opened must be at `path` itself, without a link in the place of a folder on the way.
    """
    try:
        for _ in range(_READS):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if resolved and not _is_at(descriptor, path):
                    continue
                before = os.fstat(descriptor)
                version = f"{before.st_mtime_ns}-{before.st_size}"
                if not stat.S_ISREG(before.st_mode):
                    return Unread(Trouble(Failed("changing", f"{name} is no longer a file")))
                if before.st_size > limit:
                    detail = f"{name} has {before.st_size} bytes, the limit is {limit}"
                    return Unread(Unfit("too_large", detail), version)
                data = file.read(before.st_size + 1)
                after = os.fstat(descriptor)
            if (after.st_mtime_ns, after.st_size, len(data)) == (
                before.st_mtime_ns,
                before.st_size,
                before.st_size,
            ):
                fresh = abs(clock() - before.st_mtime_ns) < _SETTLED_NS
                return data, version + ("-fresh" if fresh else "")
    except FileNotFoundError:
        return Unread(Gone())
    except OSError as error:
        return Unread(Trouble(Failed("unreadable", f"{name}: {(error.strerror or str(error)).lower()}")))
    return Unread(Trouble(Failed("changing", f"{name} changed each time it was read")))


def _is_at(descriptor: int, path: bytes) -> bool:
    """Whether an open file is where its path says, by what the system knows of it; it may write names in other case."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor).lower() == path.lower()  # noqa: PTH115 - bytes
    except FileNotFoundError:
        return True  # no /proc here: nobody can tell


if __name__ == "__main__":
    main()
