"""Whether a Prefect API is configured and there, found out without importing Prefect."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path


def answers(note: Callable[[str], None]) -> bool:
    """Whether a Prefect API is configured and answers: only then is a run recorded there.

    Without one, Prefect would start a temporary server for each run: see docs/decisions.
    """
    url = _url()
    if not url:
        return False
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=5.0).raise_for_status()
    except httpx.HTTPError as error:
        note(f"Prefect at {url} does not answer ({type(error).__name__}); this run is not recorded there")
        return False
    return True


def configured() -> bool:
    """Whether there is an API to ask; without one Prefect would start a server of its own."""
    return bool(_url())


def _url() -> str:
    """PREFECT_API_URL from the environment, else from Prefect's active profile, read without importing prefect."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"]
    base = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or base / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    profile = profiles.get("profiles", {}).get(active, {})
    return str(profile.get("PREFECT_API_URL", ""))
