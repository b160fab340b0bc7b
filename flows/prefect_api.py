"""Whether a Prefect API is configured and there, and whose version it is, found out without importing Prefect.

Nothing here raises: a Prefect that is away, or that is not the one we know, is never in the way of work.
"""

from __future__ import annotations

import base64
import os
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOOK_SECONDS = 5.0
"""How long one question may take."""


def answers(note: Callable[[str], None]) -> bool:
    """Whether a Prefect API is configured and answers: only then is a run recorded there.

    Without one, Prefect would start a temporary server for each run: see docs/decisions. `note` is told why not, and
    of a server whose version is not ours.
    """
    url = _url()
    if not url:
        return False
    if (problem := _problem(url)) is not None:
        note(f"Prefect at {shown(url)} does not answer ({problem}); this run is not recorded there")
        return False
    ours, theirs = _ours(), _theirs()
    if said := judge(ours, theirs):
        note(said)
    return _may_talk(ours, theirs)


def configured() -> bool:
    """Whether there is an API to ask; without one Prefect would start a server of its own."""
    return bool(_url())


def there(seconds: float = LOOK_SECONDS) -> bool:
    """Whether the configured API answers at this moment; False if none is configured."""
    url = _url()
    return bool(url) and _problem(url, seconds) is None


def wrong_place(seconds: float = LOOK_SECONDS) -> str | None:
    """Why what the configured URL leads to is no Prefect API; None if it is one, or nobody answers at this moment."""
    import httpx

    try:
        answer = httpx.get(f"{_url().rstrip('/')}/health", timeout=seconds)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        return "not a URL with http:// or https://"
    except httpx.HTTPError:
        return None
    if answer.is_redirect or (answer.is_client_error and answer.status_code not in (401, 403, 408, 429)):
        return f"status {answer.status_code}"
    return "a web page" if answer.headers.get("content-type", "").startswith("text/html") else None


def shown(url: str | None = None) -> str:
    """The configured URL, or `url`, without what may be secret in it: user, password, query."""
    said = _url() if url is None else url
    try:
        parts = urlsplit(said)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "PREFECT_API_URL"


def until_there(wait: Callable[[float], bool], seconds: float, clock: Callable[[], float]) -> bool:
    """Whether the API answers within `seconds` from now. `wait` sleeps, and says whether to wait no longer."""
    deadline, pause = clock() + seconds, 0.5
    while not there():
        if clock() >= deadline or wait(min(pause, max(0.0, deadline - clock()))):
            return False
        pause = min(5.0, pause * 1.5)
    return True


def version_problem() -> str:
    """One line about a server that is not of the client's own major and minor version; "" if it is, or is unknown."""
    return judge(_ours(), _theirs())


def judge(ours: str, theirs: str) -> str:
    """What to say of these versions. An older server is Prefect's own advice never to have."""
    if not ours or not theirs or _family(ours) == _family(theirs):
        return ""
    if not _may_talk(ours, theirs):
        return f"Prefect's server is {theirs}, the client here {ours}: they do not talk; nothing is recorded"
    what = "older" if _family(theirs) < _family(ours) else "newer"
    return (
        f"Prefect's server ({theirs}) is {what} than the client here ({ours}): what is recorded of a run may be "
        "incomplete, documents are not affected; see docs/upgrade.md"
    )


def _family(version: str) -> tuple[int, ...]:
    """Major and minor, as far as they are numbers."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _may_talk(ours: str, theirs: str) -> bool:
    """Prefect's client refuses a server of another major version."""
    return not theirs or not ours or _family(theirs)[:1] == _family(ours)[:1]


def _ours() -> str:
    try:
        return metadata.version("prefect")
    except metadata.PackageNotFoundError:
        return ""


def _theirs() -> str:
    """What the server says it is; "" where it does not say."""
    import httpx

    secret = _setting("PREFECT_API_AUTH_STRING")
    headers = {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
    try:
        answer = httpx.get(f"{_url().rstrip('/')}/admin/version", timeout=LOOK_SECONDS, headers=headers)
        said: Any = answer.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return ""
    return said if isinstance(said, str) else ""


def _problem(url: str, seconds: float = LOOK_SECONDS) -> str | None:
    """Why it does not answer; None if it does."""
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=seconds).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    return None


def _url() -> str:
    return _setting("PREFECT_API_URL")


def _setting(name: str) -> str:
    """From the environment, else from Prefect's active profile, read without importing prefect."""
    if name in os.environ:
        return os.environ[name]
    base = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or base / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    profile = profiles.get("profiles", {}).get(active, {})
    return str(profile.get(name, ""))
