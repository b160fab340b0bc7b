"""The two ends of a command: answers on stdout, everything else on stderr.

With `--json`, stdout carries JSON and nothing else, whatever a library may print. Nothing that is written here holds a
secret that the process has read, nor a control character that a document or a server sent.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from penstock.connectors.http.redaction import Redactor
from penstock.flows.answers.exits import outcome
from penstock.flows.answers.notes import Said, once_named
from penstock.flows.sources.redactor import REDACTOR, clean_logs

_CONTROLS = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


class Unwritable(Exception):
    """stdout cannot take the answer. The command is done; only what it had to say is lost."""


class Console:
    """Where a command puts what it has to say. A reader that goes away (`| head`) is no error; a full disk is."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        as_json: bool = False,
        verbose: bool = False,
        redactor: Redactor = REDACTOR,
    ) -> None:
        self.out = out
        self.err = err
        self.as_json = as_json
        self.verbose = verbose
        self._redactor = redactor
        self._deaf = False
        self._said = Said()

    def answer(self, payload: object, text: str) -> None:
        """The one answer of a command: `payload` with `--json`, else `text`."""
        if self.as_json:
            self.json_line(payload)
        else:
            self.write(self._fit(text))

    def json_line(self, payload: object) -> None:
        import msgspec

        if self._redactor.knows:  # the strings, and not what they are encoded to: a secret may look like JSON
            payload = _cleaned(msgspec.to_builtins(payload), self._redactor)
        try:
            self.write(msgspec.json.encode(payload).decode())
        except UnicodeEncodeError:  # a path that is no text, as the system handed it over
            self.write(json.dumps(msgspec.to_builtins(payload)))

    def write(self, text: str) -> None:
        """One piece of the answer, as it is. Raises `Unwritable`, once."""
        if self._deaf:
            return
        try:
            self.out.write(text + "\n")
            self.out.flush()
        except BrokenPipeError:
            self._go_deaf()
        except OSError as error:
            self._go_deaf()
            raise Unwritable(f"stdout cannot be written: {error.strerror or error}; the answer is lost") from None

    def _go_deaf(self) -> None:
        self._deaf = True
        _hush(self.out)

    def sign(self, message: str) -> None:
        """A sign of life before something slow; only where a person is looking."""
        if self.err.isatty():
            self.say(message)

    def say(self, message: str) -> None:
        """One line on stderr, once in a command: each of many blobs may meet the same replica that is away."""
        line = once_named(message)
        if self._said.new(line):
            self.say_again(line)

    def say_again(self, message: str) -> None:
        """One line on stderr, also if it was there before."""
        try:
            self.err.write(f"penstock: {self._fit(message)}\n")
            self.err.flush()
        except (OSError, ValueError):
            _hush(self.err)

    def fail(self, error: BaseException) -> int:
        """Report what ended the command, in one line or one JSON object. Returns the exit code."""
        code, name, message = outcome(error)
        self._deaf = self._deaf or isinstance(error, Unwritable)
        if self.verbose:
            with contextlib.suppress(OSError, ValueError):
                self.err.write(self._fit("".join(traceback.format_exception(error))))
        if self.as_json and not self._deaf:
            try:
                self.json_line({"error": {"code": name, "message": message, "exit": code}})
            except Unwritable as worse:
                self.say_again(f"{message}; also, {worse}")
        else:
            self.say_again(once_named(message))
        return code

    def _fit(self, text: str) -> str:
        return self._redactor.clean(text.translate(_CONTROLS))

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """While this holds, `print` by anybody goes to stderr: stdout belongs to `answer`."""
        with contextlib.redirect_stdout(self.err):
            yield


def standard(as_json: bool, verbose: bool) -> Console:
    """The console of this process. What the terminal's encoding lacks is escaped, not an error.

    Where a stream is closed, something stands in for it: else the next file that is opened would get its number,
    and with it whatever a library prints.
    """
    if sys.stdout is None:
        _occupy()
        sys.stdout = _Closed()
    if sys.stderr is None:
        _occupy()
        sys.stderr = io.StringIO()
    clean_logs()
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    return Console(sys.stdout, sys.stderr, as_json, verbose)


def _cleaned(value: Any, redactor: Redactor) -> Any:
    match value:
        case str():
            return redactor.clean(value)
        case list() | tuple():
            return [_cleaned(each, redactor) for each in value]
        case dict():
            return {key: _cleaned(each, redactor) for key, each in value.items()}
        case _:
            return value


class _Closed(io.StringIO):
    """Stands for a stdout that was closed before the process began."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")


def _occupy() -> None:
    """Give the numbers of the standard streams to nothing, where they are free."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _hush(stream: TextIO) -> None:
    """Point a closed pipe at nothing, or the interpreter complains when it flushes it at exit."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
