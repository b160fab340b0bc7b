"""From what a person writes to a store: a path, or a URL."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.stores import object_place
from penstock.index.stores.store import LocalStore, Store

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CLIPPED = re.compile(r"(s3|gs|az|file|https?):(?!//)", re.IGNORECASE)
_wait = threading.Event().wait


def is_url(place: str | Path) -> bool:
    """Whether `place` is written as a URL, of whatever scheme, and not as a path."""
    return isinstance(place, str) and _URL.fullmatch(place) is not None


def open_store(
    place: str | Path,
    *,
    token: Callable[[], str],
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = _wait,
) -> Store:
    """Return the store at a path, `file:///path`, or `s3://bucket/prefix` (`gs://`, `az://`: untested).

    Nothing is made and nothing is sent. Credentials and endpoint come from `environ` alone. Raises
    `WrongIndex` with one line for a URL that cannot be a store; the line never repeats a secret.
    """
    match = _URL.fullmatch(place) if isinstance(place, str) else None
    if match is None:
        if clipped := _CLIPPED.match(str(place)):
            scheme = clipped[1].lower()  # of the rest, who knows what it is
            raise WrongIndex(f"{scheme}:…: is a URL that lost a slash; write {scheme}://, as text and not as a path")
        return LocalStore(Path(place), token=token)
    scheme, rest = match.group(1).lower(), match.group(2)
    if scheme == "file":
        return LocalStore(_local(rest), token=token)
    if scheme not in object_place.SCHEMES:
        known = ", ".join(f"{name}://" for name in object_place.SCHEMES)
        raise WrongIndex(f"{scheme}://…: is no place for a store; known are a path, file://, {known}")
    where = object_place.parse(f"{scheme}://{rest}", environ)
    try:
        from penstock.index.stores.object_store import ObjectStore
    except ImportError as fault:
        raise WrongIndex(f"{where.name}: needs obstore; pip install 'penstock[s3]'") from fault
    return ObjectStore(where, token=token, clock=clock, sleep=sleep, environ=environ)


def is_remote(store: Store) -> bool:
    """Whether what the store promises depends on a server, so that it must be probed before it is trusted."""
    return bool(getattr(store, "remote", False))


def same_failure_domain(stores: Mapping[str, Store]) -> str | None:
    """Name the replicas that one failure takes together (one disk, one bucket) in a line; None if there are none."""
    groups: dict[str, list[str]] = {}
    for name, store in stores.items():
        try:
            domain = getattr(store, "domain", "")
        except (IndexFault, OSError):
            continue  # a replica that is not there shares nothing that can be seen
        if domain:
            groups.setdefault(domain, []).append(name)
    shared = [f"{' and '.join(names)} share one {domain}" for domain, names in groups.items() if len(names) > 1]
    if not shared:
        return None
    return f"replicas {'; '.join(shared)}: one failure takes them together; put one elsewhere"


def _local(rest: str) -> Path:
    path = unquote(rest)
    if not path.startswith("/") or "?" in rest or "#" in rest or "\0" in path:
        raise WrongIndex(f"file://{rest[:200]}: write file:///absolute/path, or the path alone")
    return Path(path)
