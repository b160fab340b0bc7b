"""Debian packages that the servers come from: installed where they are missing and where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLICY = Path("/usr/sbin/policy-rc.d")


class NotRun(Exception):
    """A server cannot be had here; the message says why."""


def version(package: str) -> str | None:
    """The installed version, None if it is not installed."""
    if shutil.which("dpkg-query") is None:
        return None
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]
    state, _, found = subprocess.run(asked, capture_output=True, text=True).stdout.partition(" ")
    return found if state == "installed" else None


def need(*packages: str) -> None:
    """Install what is missing of `packages`. Raises `NotRun` where that cannot be."""
    missing = [package for package in packages if version(package) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NotRun(f"this is no Debian; {', '.join(missing)} would be needed")
    if os.geteuid() != 0:
        raise NotRun(f"not root; install them first: apt-get install --no-install-recommends {' '.join(missing)}")
    print(f"── installing Debian packages: {' '.join(missing)}", file=sys.stderr, flush=True)
    with services_stay_off():
        installed = _run(["apt-get", "update", "-qq"]) and _run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        )
    if not installed or any(version(package) is None for package in packages):
        # What apt-get says names mirrors and proxies of this machine, which are nobody's business.
        raise NotRun(f"offline, or apt-get could not install {', '.join(missing)}; run it by hand to see why")


@contextmanager
def services_stay_off() -> Iterator[None]:
    """Packages of servers start them when they are installed; the policy of Debian's own forbids it meanwhile."""
    made = not _POLICY.exists()
    if made:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            _POLICY.unlink(missing_ok=True)


def _run(command: list[str]) -> bool:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(command, env=environ, capture_output=True, timeout=900).returncode == 0
    except subprocess.TimeoutExpired:
        return False
