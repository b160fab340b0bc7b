"""A parser process that does what the text of the file says: the pool's tests run it in place of the real one."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from penstock.connectors.parsers.parsed import Parsed
from penstock.connectors.parsing.worker import main

_served = 0


def obey(kind: str, data: bytes, name: str) -> Parsed:
    global _served
    _served += 1
    words = data.decode().split()
    match words[0]:
        case "sleep":
            time.sleep(60)
        case "spin":
            while True:
                pass
        case "eat":
            eaten = []
            while True:
                eaten.append(bytearray(64 << 20))
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sicken" if _served > 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        case "print":
            print("noise" * 10_000, flush=True)
            os.write(1, b"more noise")
        case "babble":
            for descriptor in range(3, 12):
                try:
                    os.write(descriptor, b"\x00\x00\x00\x04\xff\xff\xff\xff")
                except OSError:
                    pass
        case "touch":
            Path(words[1]).touch()
            time.sleep(60)
        case "missing":
            raise ModuleNotFoundError("No module named 'nothing'")
    return Parsed(text=f"process {os.getpid()} session {os.getsid(0)}", metadata={"served": str(_served)})


if __name__ == "__main__":
    sys.exit(main(parse=obey))
