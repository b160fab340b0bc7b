"""Structs are decoded from many threads at once, the first time too."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, threading
import msgspec
from penstock.index import decoding
sys.setswitchinterval(1e-6)
def struct(n):
    inner = msgspec.defstruct(f"Inner{n}", [(f"f{i}", int, 0) for i in range(40)])
    return msgspec.defstruct(f"Outer{n}", [(f"g{i}", dict[str, inner], {}) for i in range(20)])
for n in range(150):
    kind, gate = struct(n), threading.Barrier(8)
    def go():
        gate.wait()
        decoding.decode(b'{"g0":{"a":{"f1":1}}}', kind)
    threads = [threading.Thread(target=go) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
print("done")
"""


def test_many_threads_may_meet_a_type_for_the_first_time() -> None:
    """Without the lock this ends in SIGSEGV within a few types."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240)
    assert (ran.returncode, ran.stdout.strip()) == (0, "done"), ran.stderr[-500:]
