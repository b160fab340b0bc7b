"""What a driver's complaint means: try again soon, come back later, or call a person. Never with a secret in it."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import exc

from penstock.connectors.types import RetryLater, SourceError, StopSource

UNREADABLE = (NotImplementedError, ValueError, ArithmeticError)
"""What a driver raises, bare, for a value that it cannot make anything of."""
_LOGIN = re.compile(
    r"authentication failed|no password supplied|no pg_hba.conf entry|access denied for user|login failed"
    r"|ORA-01017|role .* does not exist|role .* is not permitted",
    re.IGNORECASE,
)
_PLACE = re.compile(r"database .* does not exist|unknown database|unsupported file format|not a database|malformed",
                    re.IGNORECASE)  # fmt: skip
_QUERY = re.compile(r"no such (table|column)|syntax error|permission denied for|command denied|readonly", re.IGNORECASE)
_BUSY = re.compile(r"database( table)? is locked|database is busy", re.IGNORECASE)
_SECRETS = re.compile(r"(password|passwd|pwd|secret|token)(\s*[=:]\s*)\S+", re.IGNORECASE)
_CROWDED, _CANCELLED = ("53300",), ("57014",)
_PASSING_CLASSES = ("08", "40", "53", "57")
_STANDING_CLASSES = ("0A", "21", "25", "28", "3D", "42")


@dataclass(eq=False)
class Fault(Exception):
    """One attempt that failed. `passing`: another attempt soon may succeed. `verdict` is for the budget."""

    said: str
    remedy: str = ""
    """What a person should do; with it, the source is stopped."""
    passing: bool = False
    reason: str = "server_error"
    verdict: str = "failed"
    of_row: bool = False
    """A value in a row is to blame: others may be well."""

    def error(self, source: str, about: str, retries: int, *, one_row: bool) -> SourceError:
        """What the source raises after the last attempt; with `one_row`, only that row was asked for."""
        line = f"source {source}, {about}: {self.said}"
        if one_row and self.of_row:
            return RetryLater(line, reason="garbled", retries=retries)
        if self.remedy:
            return StopSource(f"{line}; {self.remedy}")
        return RetryLater(line, reason=self.reason, retries=retries)


def fault_of(error: BaseException, file: Path | None) -> Fault:
    """The complaint of a driver, of SQLAlchemy or of the operating system."""
    inner = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    said = _line(inner)
    if file is not None and not file.exists():
        return Fault(f"there is no file {file}", "see that it is there, or correct url")
    state = getattr(inner, "sqlstate", None) or ""
    if state.startswith("28") or _LOGIN.search(said):
        return Fault(said, "see that the user and the password are what the server knows", verdict="ok")
    if state.startswith("3D") or _PLACE.search(said):
        return Fault(said, "correct url", verdict="ok")
    if state in _CANCELLED:
        return Fault("the statement took too long and was stopped", reason="timed_out")
    if state in _CROWDED:
        return Fault(said, passing=True, reason="throttled", verdict="throttled")
    if _BUSY.search(said):
        return Fault(said, passing=True, reason="timed_out", verdict="throttled")
    if state.startswith("22") or isinstance(error, (exc.DataError, *UNREADABLE)):
        return Fault(said, "correct the query: each row must have a value there", verdict="ok", of_row=True)
    if state.startswith(_STANDING_CLASSES) or _QUERY.search(said) or _is_ours(error):
        return Fault(said, "correct the query or its columns, or let the user read what it asks for", verdict="ok")
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or state.startswith(_PASSING_CLASSES) or isinstance(error, exc.TimeoutError) or not state:
        return Fault(said, passing=True, reason="unreachable")
    return Fault(said)


def _is_ours(error: BaseException) -> bool:
    """What the database says of a statement, and not of itself or the way to it."""
    if isinstance(error, exc.ProgrammingError | exc.NotSupportedError):
        return True
    if isinstance(error, exc.DBAPIError):
        return False
    return isinstance(error, exc.SQLAlchemyError | sqlite3.ProgrammingError) and not isinstance(error, exc.TimeoutError)


def _line(error: BaseException) -> str:
    """The first line of what it says: the others quote the statement, or speak of other hosts that were tried."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return _SECRETS.sub(r"\1\2***", lines[0])[:300].rstrip(":; ")
