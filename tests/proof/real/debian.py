"""Debian packages that the servers come from: installed where they are missing and where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


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
    # Services of packages would start by themselves and take ports of the machine: a policy of 101 forbids it.
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=900)
    if ran.returncode or any(version(package) is None for package in packages):
        last = (ran.stderr.strip().splitlines() or ["no reason was given"])[-1]
        kind = "offline, or a package is not known" if "Unable to" in ran.stderr else "apt-get did not install"
        raise NotRun(f"{kind} ({', '.join(missing)})" + ("" if "Unable to" in last else f": {last[:160]}"))
