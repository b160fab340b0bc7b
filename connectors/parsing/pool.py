"""Files to documents, in processes that may die of it.

`REJECTIONS` and `FAILURES` (from `reasons`) are the whole vocabulary of what can come out instead.
"""

from __future__ import annotations

import errno
import os
import queue
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from penstock.connectors.parsing.names import names, parser_names, pipeline_versions
from penstock.connectors.parsing.plugins import ParserUnavailable, setup
from penstock.connectors.parsing.process import Died, Overdue, ParseProcess
from penstock.connectors.parsing.wire import Ask, Begun, Gone, Text, Trouble, Unfit, Verdict
from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.connectors.types import Document, Failed, Fetched, Rejected

__all__ = ["FAILURES", "REJECTIONS", "ParserPool", "ParserUnavailable", "parser_names", "pipeline_versions"]

_COMMAND = (sys.executable, "-P", "-m", "penstock.connectors.parsing.worker")  # -P: not what lies in the cwd
_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT}


class _Seat:
    """A place for one process; `process` is None until one is needed, and after one has ended."""

    def __init__(self) -> None:
        self.process: ParseProcess | None = None

    def vacate(self) -> None:
        if self.process is not None:
            self.process.kill()
        self.process = None


class ParserPool:
    """`workers` parser processes, started when first needed, each replaced after `recycle_after` files.

    `parse` may be called from any number of threads; a call takes a free process or waits for one. A file
    that kills its process, or has to be stopped, costs that process alone. Closing the pool (it is also a
    context manager) ends all processes; if this process is killed, they die too.

    Limits for each file: `seconds` of wall clock, `cpu_seconds` of processor time (a little more than `seconds`
    unless given), `memory_bytes` of address space, `max_bytes` of file, `max_text` characters.

    `plugins`: the third-party parsers and transforms to use, by entry point; None means all that are installed.
    `route`: reason (of `plugins.ROUTABLE`) to the third-party parser that is asked then, such as an OCR for
    `no_text`. Raises `ParserUnavailable` for plug-ins that cannot be loaded.

    `command` is the program that answers; tests put a misbehaving one in its place.
    """

    def __init__(
        self,
        workers: int,
        *,
        seconds: float = 60.0,
        cpu_seconds: float | None = None,
        memory_bytes: int = 3 << 29,
        max_bytes: int = 256 << 20,
        max_text: int = 64_000_000,
        recycle_after: int = 200,
        plugins: Sequence[str] | None = None,
        route: Mapping[str, str] | None = None,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._max_bytes, self._max_text, self._seconds = max_bytes, max_text, seconds
        self._cpu_seconds = seconds + 5 if cpu_seconds is None else cpu_seconds
        self._memory = memory_bytes
        wanted = setup(plugins, route)
        self._names = names(wanted)
        self._setup = msgspec.json.encode(wanted).decode()
        self._recycle_after = recycle_after
        self._command = command
        self._closed = False
        self._every = [_Seat() for _ in range(max(1, workers))]
        self._free: queue.LifoQueue[_Seat] = queue.LifoQueue()  # last in first out: few files start few processes
        for seat in self._every:
            self._free.put(seat)
        # Linux ends a child with the thread that started it, so a thread that calls `parse` must not start one.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="parser-start")

    def parse(self, fetched: Fetched) -> Document | Rejected | Failed:
        """What became of the file. Raises `FileNotFoundError` if it is gone, `ParserUnavailable`."""
        seat = self._free.get()
        try:
            return self._judged(seat, fetched)
        except FileNotFoundError:
            raise
        except BaseException:
            seat.vacate()  # it may have an answer under way that nobody waits for any more
            raise
        finally:
            self._free.put(seat)

    def close(self) -> None:
        """Ends all processes, at once. A call of `parse` that is under way ends as interrupted."""
        self._closed = True
        for seat in self._every:
            if (process := seat.process) is not None:
                process.stop()
        seats = [self._free.get() for _ in self._every]  # whoever held one saw its process die and let go
        for seat in seats:
            seat.vacate()
            self._free.put(seat)
        self._starter.shutdown()

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _judged(self, seat: _Seat, fetched: Fetched) -> Document | Rejected | Failed:
        name = os.fsencode(fetched.name).decode("utf-8", "backslashreplace")
        ask = Ask(os.fsencode(fetched.path), name, self._max_bytes, self._max_text, self._cpu_seconds, fetched.resolved)
        while not self._closed:
            process = self._process(seat)
            try:
                begun, verdict = process.ask(ask, self._seconds)
            except Overdue as overdue:
                seat.vacate()
                detail = f"{name} was not parsed within {self._seconds:g} s"
                return self._rejected(fetched, "too_slow", detail, overdue.begun)
            except Died as death:
                seat.vacate()
                if process.asked == 1:
                    return self._of_death(fetched, name, death)
                continue  # an earlier file may have sickened the process: judge this one on a fresh one
            last = isinstance(verdict, Unfit) and verdict.last
            if last or process.asked >= self._recycle_after:
                seat.vacate()
            if not last or process.asked == 1:
                return self._outcome(fetched, begun, verdict)
        return Failed("interrupted", f"{name} was not parsed: the pool was closed")

    def _process(self, seat: _Seat) -> ParseProcess:
        if seat.process is None:
            try:
                seat.process = self._starter.submit(ParseProcess, self._command, self._memory, self._setup).result()
                seat.process.await_ready()
            except (OSError, Died, Overdue) as error:
                hint = "is penstock[ingest] installed for this Python?"
                raise ParserUnavailable(f"no parser process can be started ({error}): {hint}") from error
        return seat.process

    def _of_death(self, fetched: Fetched, name: str, death: Died) -> Rejected | Failed:
        if death.signal == signal.SIGXCPU:
            detail = f"{name} used up the processor time it was allowed"
            return self._rejected(fetched, "too_slow", detail, death.begun)
        if death.signal in _FROM_OUTSIDE:
            return Failed("interrupted", f"{name} was not parsed: the parser process was ended by {death}")
        return self._rejected(fetched, "crashed", f"the parser process died of {name}: {death}", death.begun)

    def _outcome(self, fetched: Fetched, begun: Begun, verdict: Verdict) -> Document | Rejected | Failed:
        match verdict:
            case Text():
                kind = verdict.kind or begun.kind
                return Document(
                    text=verdict.text,
                    kind=kind,
                    content=begun.content,
                    version=fetched.version or begun.version,
                    parser=self._names.get(kind, kind),
                    title=fetched.title or verdict.title,
                    pages=verdict.pages,
                    headings=verdict.headings,
                    metadata=_metadata(verdict.metadata, fetched),
                    labels=fetched.labels,
                    cpu=verdict.cpu,
                )
            case Unfit():
                return self._rejected(fetched, verdict.reason, verdict.detail, begun, verdict.kind)
            case Trouble():
                return verdict.failed
            case Gone():
                raise FileNotFoundError(errno.ENOENT, "it went away before it was parsed", str(fetched.path))

    def _rejected(self, fetched: Fetched, reason: str, detail: str, begun: Begun | None, kind: str = "") -> Rejected:
        """`begun` is None where the process ended before it had read the file."""
        kind = kind or (begun.kind if begun else "none")
        return Rejected(
            reason,
            detail,
            content=begun.content if begun else "",
            version=fetched.version or (begun.version if begun else ""),
            parser=self._names.get(kind, kind),
        )


def _metadata(parsed: Mapping[str, str], fetched: Fetched) -> dict[str, str]:
    """What the source says of a document wins over what the file says of itself."""
    return {**parsed, **fetched.metadata} | ({"url": fetched.url} if fetched.url else {})
