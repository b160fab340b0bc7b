"""What an object store's failures mean to a source, in words that hold nothing that the server or the client said.

The client's own messages quote requests and answers, and an answer may quote what was signed: only the HTTP status
and the error code, both of known shape, are taken from them.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from penstock.connectors.types import RetryLater, StopSource

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_KEYS = {
    "ExpiredToken",
    "InvalidToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "NotSignedUp",
    "AccountProblem",
    "UnauthorizedAccess",
}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServerBusy", "TooManyRequests"}


class Changed(Exception):
    """Not the object that was asked for any more."""


class OddKey(Exception):
    """The library would not have a key of the listing as a path."""


class PastTheEnd(Exception):
    """The range begins at or beyond the object's end."""


@dataclass(frozen=True, slots=True)
class Said:
    """`error` is to be raised; `verdict` is for the budget; `again`: whether the request may be repeated at once."""

    error: Exception
    verdict: str = "ok"
    again: bool = False


def said(name: str, key: str, fault: BaseException) -> Said:
    """The client's failure as one of ours. `key` is empty for the bucket itself."""
    what = f"{name}: {key[:200]}" if key else name
    if not isinstance(fault, Exception):  # a panic of the client
        return Said(StopSource(f"{name}: the client broke down; look at url, endpoint and the environment"), "failed")
    text, kind = str(fault), type(fault).__name__
    status, code = _found(_STATUS, text), _found(_CODE, text)
    if kind == "InvalidPathError":
        return Said(OddKey(name))
    if any(sign in text for sign in _NO_BUCKET):
        return Said(StopSource(f"{name}: there is no such bucket; make it, or mend url and endpoint"))
    if code in _CLOCK:
        return Said(StopSource(f"{name}: the server's clock and ours differ ({code}); set the time"))
    if code in _KEYS or status == "401" or kind == "UnauthenticatedError":
        return Said(StopSource(f"{name}: the credentials are refused ({code or status}); {_SET}"))
    if code in _REGION or status == "301":
        return Said(StopSource(f"{name}: the bucket is in another region ({code or status}); set region"))
    if status == "403" or kind == "PermissionDeniedError":
        return Said(_forbidden(name, key, code or status))
    if status == "404" or isinstance(fault, FileNotFoundError):
        return Said(FileNotFoundError(errno.ENOENT, "no such object", what))
    if status == "412" or kind == "PreconditionError":
        return Said(Changed(what))
    if status == "416":
        return Said(PastTheEnd(what))
    if not status and "Missing" in text and "kind:" not in text:
        return Said(StopSource(f"{name}: has no credentials; {_SET}"))
    return _passing(what, text, status, code)


_SET = "set access_key and secret_key, or anonymous = true for a public bucket"


def _forbidden(name: str, key: str, code: str) -> Exception:
    if key:
        return RetryLater(f"{name}: {key[:200]} may not be read ({code}); allow s3:GetObject", reason="forbidden")
    return StopSource(f"{name}: access is refused ({code}); allow s3:ListBucket, or {_SET}")


def _passing(what: str, text: str, status: str, code: str) -> Said:
    """What may work in a moment."""
    answered = f"{what}: it answers {status}{' ' + code if code else ''}"
    if status in ("429", "503") or code in _THROTTLED:
        return Said(RetryLater(answered, reason="throttled"), "throttled", again=True)
    if status.startswith("5") or status == "408":
        return Said(RetryLater(answered, reason="server_error"), "failed", again=True)
    if status:
        return Said(StopSource(f"{answered}; see that url and endpoint are those of an object store"), "failed")
    if "TimedOut" in text or "timed out" in text:
        return Said(RetryLater(f"{what}: no answer in time", reason="timed_out"), "failed", again=True)
    if "kind: Connect" in text or "ConnectError" in text:
        return Said(RetryLater(f"{what}: it cannot be reached", reason="unreachable"), "failed", again=True)
    if "kind: Body" in text or "kind: Decode" in text or "IncompleteMessage" in text or "UnexpectedEof" in text:
        return Said(RetryLater(f"{what}: the answer was cut", reason="truncated"), "failed", again=True)
    return Said(RetryLater(f"{what}: the connection failed", reason="unreachable"), "failed", again=True)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""
