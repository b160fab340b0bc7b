"""A real PostgreSQL server for tests: made in a temporary folder, on a Unix socket and a free local port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret-of-the-test"


def programs() -> Path | None:
    """Where initdb and pg_ctl are, None if PostgreSQL is not installed."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


class Postgres:
    """A running server. `url` names a database; `fresh` makes a new one."""

    def __init__(self, bin_folder: Path, root: Path, account: str | None) -> None:
        self._bin, self._data, self._account = bin_folder, root / "data", account
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        secret = root / "password"
        secret.write_text(PASSWORD)
        if account is not None:
            shutil.chown(root, account)
            shutil.chown(secret, account)
        self._run("initdb", "-D", str(self._data), "-U", "penstock", "-A", "scram-sha-256", f"--pwfile={secret}")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{root}'\n"
                "max_connections = 60\nshared_buffers = 16MB\nrecovery_init_sync_method = syncfs\n"
            )

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "120", "-l", str(self._data / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://penstock:{password}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = "c" + secrets.token_hex(6)
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, statement: str, url: str | None = None) -> list[Any]:
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as db:
            found = db.execute(statement)  # type: ignore[arg-type]  # the tests write their statements themselves
            return found.fetchall() if found.description else []

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._account,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=150,
        )


@contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the block lasts; the test is skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'penstock[postgres]'")
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: no initdb and pg_ctl on PATH")
    # PostgreSQL refuses to run as root.
    account = "nobody" if os.getuid() == 0 else None
    assert account is None or pwd.getpwnam(account)
    root = Path(tempfile.mkdtemp(prefix="penstock-pg-"))
    root.chmod(0o755)
    try:
        server = Postgres(found, root, account)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)
