"""The parser process: one hostile file after the other, in a place where it can do no harm.

Run by `ParserPool` as `python -P -m penstock.connectors.parsing.worker`. Questions come on stdin, answers go
to what was stdout; libraries that print reach neither. It dies with the thread that started it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import logging
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.parsing.sniff import kind_of
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

Parse = Callable[[str, bytes, str], Parsed]
_PR_SET_PDEATHSIG = 1
_READS = 3
_SETTLED_NS = 50_000_000


class Unread(msgspec.Struct, frozen=True):
    """A file that was not read, and the version it had."""

    verdict: Verdict
    version: str = ""


def parse_kind(kind: str, data: bytes, name: str) -> Parsed:
    """Parses with the module for `kind`; its library is imported when it is first needed."""
    module = importlib.import_module(f"penstock.connectors.parsers.{kind}")
    parsed: Parsed = module.parse(data, name)
    return parsed


def main(parse: Parse = parse_kind, clock: Callable[[], int] = time.time_ns) -> None:  # noqa: TID251 - a process of its own has no caller to hand it a clock
    """Answers until stdin closes. Arguments: the memory limit in bytes and the process id of the parent."""
    memory, parent = int(sys.argv[1]), int(sys.argv[2])
    _confine(memory, parent)
    answers = _private_stdout()
    questions = sys.stdin.buffer
    answers.write(packed(Ready()))
    answers.flush()
    ask = msgspec.msgpack.Decoder(Ask)
    while len(head := questions.read(LENGTH.size)) == LENGTH.size:
        request = ask.decode(questions.read(LENGTH.unpack(head)[0]))
        _bound_cpu(request.seconds)
        answers.write(_answer(request, parse, clock, answers))
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
    """The parent's clock is the limit; this one holds even when the parent itself is stopped."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 5
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _private_stdout() -> BinaryIO:
    own = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return os.fdopen(own, "wb")


def _answer(request: Ask, parse: Parse, clock: Callable[[], int], answers: BinaryIO) -> bytes:
    """One framed verdict; whatever the parser raises becomes one."""
    try:
        return packed(_verdict(request, parse, clock, answers))
    except MemoryError:
        pass  # leave the handler before answering: its traceback holds what filled the memory
    return packed(Unfit("too_much_memory", "more memory was needed than the limit allows", last=True))


def _verdict(request: Ask, parse: Parse, clock: Callable[[], int], answers: BinaryIO) -> Verdict:
    found = read_steady(request.path, request.name, request.max_bytes, clock)
    if isinstance(found, Unread):
        answers.write(packed(Begun(kind="none", content="", version=found.version)))
        return found.verdict
    data, version = found
    content = hashlib.sha256(data).hexdigest()
    kind, verdict = "none", None
    try:
        kind = kind_of(data, request.name)
    except Unparsable as error:
        verdict = Unfit(error.reason, error.detail)
    answers.write(packed(Begun(kind=kind, content=content, version=version)))
    answers.flush()
    return verdict or _parsed(request, parse, kind, data)


def _parsed(request: Ask, parse: Parse, kind: str, data: bytes) -> Verdict:
    try:
        parsed = parse(kind, data, request.name)
    except Unparsable as error:
        return Unfit(error.reason, error.detail)
    except ImportError as error:
        return Trouble(Failed("not_installed", f"{error}: pip install 'penstock[ingest]'"))
    except MemoryError:
        raise
    except Exception as error:  # a parser given hostile bytes may raise anything
        said = " ".join(str(error).split())[:300]
        return Unfit("damaged", f"{request.name} cannot be read as {kind}: {type(error).__name__}: {said}")
    if len(parsed.text) > request.max_text:
        limit = f"{len(parsed.text)} characters of text, the limit is {request.max_text}"
        return Unfit("too_large", f"{request.name} holds {limit}")
    if not parsed.text.strip():
        return Unfit("empty", f"{request.name} holds no text")
    return Text(parsed.text, parsed.title, parsed.pages, parsed.headings, parsed.metadata)


def read_steady(path: bytes, name: str, limit: int, clock: Callable[[], int]) -> tuple[bytes, str] | Unread:
    """The bytes of a regular file and the version token that is theirs, or why they could not be had.

    The file is read again when it changed meanwhile. A token whose time is too close to now is marked, and
    so equals no other: a rewrite in the same tick of the file system's clock could not be told apart.
    """
    try:
        for _ in range(_READS):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
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


if __name__ == "__main__":
    main()
