"""A Prefect server for one machine: what it and everything that talks to it is told by its environment.

Pure. Nothing of the machine's own Prefect is used or changed: not its profile, not its database, not its server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"
MARK = "PENSTOCK_UP"
"""In the environment of every process that `penstock up` started, and of all that those started."""

_ELSEWHERE = (
    "PREFECT_HOME",
    "PREFECT_PROFILE",
    "PREFECT_PROFILES_PATH",
    "PREFECT_MEMO_STORE_PATH",
    "PREFECT_LOCAL_STORAGE_PATH",
    "PREFECT_CLOUD_",
    "PREFECT_API_",
    "PREFECT_UI_",
    "PREFECT_SERVER_API_HOST",
    "PREFECT_SERVER_API_BASE_PATH",
    "PREFECT_SERVER_DATABASE_",
    "PREFECT_SERVER_UI_",
    "PREFECT_SERVER_MEMO_STORE_PATH",
    "PREFECT_SERVER_EPHEMERAL_",
    "PREFECT_MESSAGING_",
    "PREFECT__",
)
"""Beginnings of the variables that lead to another server, or to another place of this one."""


def api_url(port: int) -> str:
    return f"http://{HOST}:{port}/api"


def page(port: int) -> str:
    """What a browser opens."""
    return f"http://{HOST}:{port}"


def environment(environ: Mapping[str, str], data: Path, port: int, mark: str) -> dict[str, str]:
    """What server, worker, flow runs and `penstock deploy` are started with. `data`: the server's folder.

    The rest of the user's PREFECT_ variables count: levels of logs, the pace of workers and services.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(_ELSEWHERE)}
    paced = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    auth = kept.get("PREFECT_SERVER_API_AUTH_STRING")
    return {
        **paced,
        **kept,
        **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
        "PREFECT_HOME": str(data),
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": api_url(port),  # else the page would call port 4200
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it calls an outside host from the browser
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_METRICS_ENABLED": "true",
        # In memory, a limit that was held when the server ended would be held for good.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        MARK: mark,
    }


def led_elsewhere(environ: Mapping[str, str], port: int) -> str | None:
    """The Prefect API that the user's own environment names, if it is another one."""
    url = environ.get("PREFECT_API_URL", "").rstrip("/")
    return url if url and url not in (api_url(port), f"http://localhost:{port}/api") else None
