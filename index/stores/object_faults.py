"""What an object store's failures mean to the caller, in words that hold nothing the server or the client said.

The client's own messages quote requests and answers, and an answer may quote what was signed: only the
HTTP status and the error code, both of known shape, are taken from them.
"""

from __future__ import annotations

import errno
import re

from penstock.index.errors import IndexFault, NoSpace, Unavailable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_REFUSED = {"401", "403"}
_KEYS = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "TokenRefreshRequired"}
_FULL = {"QuotaExceeded", "StorageFull", "XMinioStorageFull", "InsufficientCapacity", "ServiceQuotaExceeded"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class Refused(Unavailable):
    """The store says no, and would say it again: there is something to be set right first."""


def missing(name: str, key: str, fault: Exception | None = None) -> Exception:
    """What a 404 says: no such key (`FileNotFoundError`), or no such bucket (`Unavailable`)."""
    if any(sign in str(fault) for sign in _NO_BUCKET):
        return Refused(f"{name}: there is no such bucket; make it, or configure the right place")
    return FileNotFoundError(errno.ENOENT, "no such key", f"{name}/{key}")


def said(name: str, doing: str, fault: BaseException) -> IndexFault:
    """The failure of `doing` something with the store `name`, as one of ours; `fault` is the client's."""
    if not isinstance(fault, Exception):  # a panic of the client
        return Refused(f"{name}: the client broke down; see that the store's variables of the environment are right")
    text = str(fault)
    status, code = _found(_STATUS, text), _found(_CODE, text)
    if status == "507" or code in _FULL:
        return NoSpace(f"{name}: the store is full ({code or status}); make room and run again")
    if status in _REFUSED or code in _KEYS or type(fault).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return Refused(f"{name}: access is refused ({code or status or 'no answer'}); set {credentials(name)}")
    if code in _REGION:
        return Refused(f"{name}: the bucket is in another region ({code}); set AWS_REGION")
    if any(sign in text for sign in _NO_BUCKET):
        return Refused(f"{name}: there is no such bucket; make it, or configure the right place")
    if type(fault).__name__ == "InvalidPathError":
        return Refused(f"{name}: holds names that are no keys; give the replica a prefix of its own")
    if not status and "kind:" not in text and "Missing" in text:
        return Refused(f"{name}: has no credentials; set {credentials(name)}")
    return Unavailable(f"{name}: cannot {doing}: {_why(text, status, code)}; see that the server is up and run again")


def past_the_end(fault: Exception) -> bool:
    """Whether the client's failure says that a range begins at or beyond the end of the value."""
    return _found(_STATUS, str(fault)) == "416"


def credentials(name: str) -> str:
    """Which variables of the environment hold the credentials of the store with this URL."""
    return _CREDENTIALS[name.split(":", 1)[0]]


def _why(text: str, status: str, code: str) -> str:
    if status:
        return f"it answers {status}{' ' + code if code else ''}"
    if "TimedOut" in text or "timed out" in text:
        return "it does not answer in time"
    if "kind: Connect" in text or "ConnectError" in text:
        return "it cannot be reached"
    return "the connection failed"


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""
