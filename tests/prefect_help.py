"""Which options the commands of prefect have, and which settings there are: asked once, in one process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable

_ASK = """
import contextlib, io, json, sys
from prefect.cli import app
found = {}
asked = json.loads(sys.argv[1])
for words in asked:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        sys.argv = ["prefect", *words, "--help"]
        app()
    found[" ".join(words)] = said.getvalue()
print(json.dumps(found))
"""


def options(commands: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], set[str]]:
    """Command, as its words → its long options. Raises AssertionError where there is no such command."""
    asked = sorted(set(commands))
    done = subprocess.run([sys.executable, "-c", _ASK, json.dumps(asked)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for words, said in zip(asked, json.loads(done.stdout.splitlines()[-1]).values(), strict=True):
        assert f"Usage: prefect {' '.join(words)}" in said, words
        found[words] = set(re.findall(r"--[a-z-]+", said))
    return found
