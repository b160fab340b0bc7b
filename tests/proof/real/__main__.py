"""All servers, one after the other: `python -m tests.proof.real [--only NAME]… [--json] [--keep FOLDER]`.

Says each check on stderr as it is made. With `--json` the last line of stdout is all of them. Exits 1 if one failed; a
server that cannot be had is said to be, and fails nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.proof.real import bucket, mediawiki, nginx, postgres, redmine, tracker
from tests.proof.real.checks import Checks
from tests.proof.real.debian import NotRun

SERVERS: dict[str, Callable[[Path], Checks]] = {
    "nginx": nginx.prove,
    "mediawiki": mediawiki.prove,
    "redmine": redmine.prove,
    "request-tracker": tracker.prove,
    "postgresql": postgres.prove,
    "s3": bucket.prove,
}


def proven(name: str, folder: Path) -> dict[str, Any]:
    """What came of one server: `version`, `checks`, `seconds`; `not_run` and why; `broke` if it ended in the middle."""
    started = time.monotonic()
    said: dict[str, Any]
    try:
        made = SERVERS[name](folder)
        said = {"server": made.server, "version": made.version, "checks": made.made}
    except NotRun as error:
        print(f"not run: {name}: {error}", file=sys.stderr, flush=True)
        said = {"not_run": str(error)}
    except Exception as error:
        traceback.print_exc()
        said = {"broke": f"{type(error).__name__}: {error}"[:400]}
    return {**said, "seconds": round(time.monotonic() - started, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=sorted(SERVERS), default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for homes and servers' files, which then stay")
    options = parser.parse_args()
    work = options.keep or Path(tempfile.mkdtemp(prefix="penstock-real-"))
    servers: dict[str, Any] = {}
    try:
        for name in options.only or SERVERS:
            servers[name] = proven(name, work / name)
    finally:
        if options.keep is None:
            shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps({"servers": servers}))
    bad = {
        name: said
        for name, said in servers.items()
        if "broke" in said or any(not check["ok"] for check in said.get("checks", ()))
    }
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
