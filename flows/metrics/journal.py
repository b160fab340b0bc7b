"""Structured logs: what happens in a run as lines, each a JSON object.

Several processes may append to one file: a line is written in one piece, at its end, and none is longer than what a
pipe takes in one piece. A file that was moved away is left alone, and a new one begun in its place, as logrotate has
it. Whatever cannot be written is left out, and costs the run nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import msgspec

from penstock.flows.runs import events

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
LONGEST = 4096
"""Bytes of a line: PIPE_BUF, which a pipe and `O_APPEND` take as a whole."""
_FIELD = 1000
"""Characters of one text, to begin with."""
STDERR = "-"


class Journal:
    """A listener. `path` None: stderr. `clean` takes secrets out of a text. `clock`: seconds since 1970."""

    name = "[logs] file"

    def __init__(
        self, path: Path | None, level: Level, *, clock: Callable[[], float], clean: Callable[[str], str]
    ) -> None:
        self._path, self._least = path, LEVELS.index(level)
        self._clock, self._clean = clock, clean
        self._lock = Lock()
        self._descriptor: int | None = None
        self._run, self._home = "", ""
        self._lost, self._fault = 0, ""
        self._torn = False
        self._handler: _Handler | None = None

    def __call__(self, event: events.Event) -> None:
        """Write what happened, if it is as much as the level. Raises `OSError` at the end, where lines were lost."""
        if isinstance(event, events.RunStarted):
            self._run, self._home = event.run, event.home
            self._listen()
        level, fields = entry(event)
        self.write(level, fields)
        if isinstance(event, events.RunEnded):
            self.close()

    @property
    def apart(self) -> bool:
        """Whether it writes elsewhere than where people read."""
        return self._path is not None

    def write(self, level: Level, fields: Mapping[str, Any]) -> None:
        """One line, at `level`. Raises nothing."""
        if LEVELS.index(level) < self._least:
            return
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {"time": at, "level": level, "run": self._run, "home": self._home, **fields}
        line = encoded(said, self._clean)
        with self._lock:
            try:
                done = os.write(self._opened(), b"\n" + line if self._torn else line)
                self._torn = done < len(line)
                if self._torn:
                    self._lost, self._fault = self._lost + 1, "no room"
            except OSError as fault:
                self._lost, self._fault = self._lost + 1, fault.strerror or str(fault)

    def close(self) -> None:
        """The run is over. Raises `OSError` where lines were lost; may be repeated."""
        if self._handler is not None:
            logging.getLogger("penstock").removeHandler(self._handler)
            self._handler = None
        with self._lock:
            if self._descriptor is not None and self._path is not None:
                os.close(self._descriptor)
            self._descriptor, lost, self._lost = None, self._lost, 0
        if lost:
            raise OSError(f"{self._path or 'stderr'}: {lost} lines could not be written: {self._fault}")

    def _opened(self) -> int:
        """The descriptor of the file that has the name now."""
        if self._path is None:
            return 2
        if self._descriptor is not None:
            try:
                mine, there = os.fstat(self._descriptor), self._path.stat()
                if (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev):
                    return self._descriptor
            except FileNotFoundError:
                pass
            os.close(self._descriptor)
            self._descriptor = None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._descriptor = os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, flags, 0o640)
        return self._descriptor

    def _listen(self) -> None:
        """What our own modules log is in it as well, as long as the run goes on."""
        if self._handler is None:
            self._handler = _Handler(self)
            logging.getLogger("penstock").addHandler(self._handler)


def entry(event: events.Event) -> tuple[Level, dict[str, Any]]:
    """What is said of an event, and how loud. Without a field where there is nothing to say."""
    name = type(event).__name__
    kind = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("-")
    fields: dict[str, Any] = {"event": kind}
    for key in event.__dataclass_fields__:
        value = getattr(event, key)
        if value not in ("", (), {}, None):
            fields[_CALLED.get(key, key)] = value
    return _level(event), {**fields, **_instead(event)}


_CALLED = {"uri": "document", "problem": "message", "detail": "message", "why": "message", "at": "started"}
"""Where a field of an event has another name in a line. A line has one `message` at most."""


def _level(event: events.Event) -> Level:
    match event:
        case events.DocumentPrepared():
            return "debug" if event.status == "indexed" else "info"
        case events.Noted() | events.SourceWaits() | events.ReplicaLeftOut():
            return "warning"
        case events.Listed():
            return "warning" if event.problem else "info"
        case events.RunEnded():
            return "error" if event.state == "failed" else "info"
        case _:
            return "info"


def _instead(event: events.Event) -> dict[str, Any]:
    """What does not go into a line as it is."""
    match event:
        case events.CommitLanded():
            return {"fresh": max(event.fresh, default=0.0)}
        case events.Accounted():
            account: dict[str, Any] = msgspec.to_builtins(event.account)
            figures = {key: value for key, value in account.items() if key not in _ELSEWHERE}
            said = {key: value for key, value in figures.items() if value not in (0, 0.0, {}, [], None)}
            tables: dict[str, Any] = {key: said.pop(key) for key in _TABLES if key in said}
            return {"account": said, **tables}
        case _:
            return {}


_TABLES = ("reasons", "retries", "stage_seconds", "sources", "freshness")
_ELSEWHERE = ("messages", "quality", "ship")


def encoded(fields: Mapping[str, Any], clean: Callable[[str], str]) -> bytes:
    """The line, `LONGEST` bytes at most with its end: texts are cut, and then whole tables left out, if need be."""
    kept = dict(fields)
    for most in (_FIELD, 300, 100):
        line = _line(_fit(kept, clean, most))
        if len(line) <= LONGEST:
            return line
    while tables := [key for key, value in kept.items() if isinstance(value, dict | list | tuple)]:
        del kept[max(tables, key=lambda key: len(_line(_fit(kept[key], clean, 100))))]
        kept["cut"] = True
        line = _line(_fit(kept, clean, 100))
        if len(line) <= LONGEST:
            return line
    return _line(_fit({**kept, "cut": True}, clean, 20))


def _line(fields: Any) -> bytes:
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), default=str).encode() + b"\n"


def _fit(value: Any, clean: Callable[[str], str], most: int) -> Any:
    match value:
        case str():
            text = clean(value)
            return text if len(text) <= most else f"{text[: most - 1]}…"
        case float():
            return round(value, 3) if math.isfinite(value) else None
        case bool() | int() | None:
            return value
        case dict():
            return {_fit(str(key), clean, most): _fit(each, clean, most) for key, each in value.items()}
        case list() | tuple():
            return [_fit(each, clean, most) for each in value]
        case _:
            return _fit(str(value), clean, most)


class _Handler(logging.Handler):
    """What our own modules log, as lines of the journal."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        name = record.levelname.lower()
        level: Level = next((each for each in LEVELS if each == name), "error")
        try:
            self._journal.write(level, {"event": "log", "logger": record.name, "message": record.getMessage()})
        except Exception:
            self.handleError(record)
        last = logging.lastResort if self._journal.apart else None
        if last is not None and record.levelno >= last.level and not logging.getLogger().handlers:
            last.handle(record)  # because of us, nobody else would
