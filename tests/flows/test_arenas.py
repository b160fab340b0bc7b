"""Free memory is anybody's."""

import subprocess
import sys

CODE = """
import ctypes, sys, threading
from penstock.flows.runs import arenas

def anonymous():
    with open("/proc/self/smaps_rollup") as said:
        return next(int(line.split()[1]) // 1024 for line in said if line.startswith("Anonymous"))

if sys.argv[1] == "shared":
    arenas.shared()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def take(turn, done):
    places = [library.malloc(60_000) for _ in range(200)]
    for place in places:
        ctypes.memset(place, 1, 60_000)
    held = library.malloc(1000)  # at the top: what lies below it cannot be given back
    for place in places:
        library.free(ctypes.c_void_p(place))
    done.set()
    turn.wait()

before, turn = anonymous(), threading.Event()
threads = []
for _ in range(12):
    done = threading.Event()
    threads.append(threading.Thread(target=take, args=(turn, done)))
    threads[-1].start()
    done.wait()
print(anonymous() - before)
turn.set()
"""


def grown(how: str) -> int:
    """MB that twelve threads leave behind which took and freed 12 MB each, one after the other."""
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_one_thread_freed_another_uses() -> None:
    """With an arena for each thread the same work keeps several times as much."""
    assert grown("shared") * 2 < grown("apart")
