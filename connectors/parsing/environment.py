"""What a parser process sees of the environment: nothing that may be a secret.

A hostile file that gets the better of a library would find there what the sources are asked with.
"""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = frozenset(
    ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD")
)
_BEGINNINGS = (
    "PENSTOCK_PARSER_",  # for the settings of plug-ins, which are told to keep secrets elsewhere
    "LC_", "PYTHON", "COVERAGE_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "NVIDIA_",
    "TESSDATA_", "FONTCONFIG_",
)  # fmt: skip


def parser_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a parser may see: how to run, in which language, and `PENSTOCK_PARSER_…`."""
    return {name: value for name, value in environ.items() if name in _NAMES or name.startswith(_BEGINNINGS)}
