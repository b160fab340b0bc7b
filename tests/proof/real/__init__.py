"""Sources proven on the real thing: servers of Debian, started here, filled, changed, stopped, and read by the command.

    python -m tests.proof.real [--only nginx]… [--json] [--keep FOLDER]

Each server has a module: it starts on loopback with its data in a temporary folder, is filled through its own means,
and tells what must be in the index. `course.py` is what all of them go through.
"""
