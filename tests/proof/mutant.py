"""A pytest plugin that runs the code with one of its guards cut out. The product knows nothing of it.

    PENSTOCK_MUTANT=NAME python -m pytest -p tests.proof.mutant SELECTION

A mutant says which text of which module is replaced by what, while it is loaded. A text that is not there exactly
once ends the run with 70: the code moved on and the mutant must follow.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from tests.proof.mutants import BY_NAME, Mutant

STALE = 70


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant, name: str, path: str) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_data(self.path).decode()
        for old, new in self._mutant.cuts:
            if text.count(old) != 1:
                print(f"mutant {self._mutant.name}: {old!r} is {text.count(old)} times in {fullname}", file=sys.stderr)
                os._exit(STALE)
            text = text.replace(old, new)
        return compile(text, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != f"penstock.index.{self._mutant.module}":
            return None
        file = (Path(__file__).resolve().parents[2] / "index" / self._mutant.module.replace(".", "/")).with_suffix(
            ".py"
        )
        return importlib.util.spec_from_file_location(fullname, file, loader=_Loader(self._mutant, fullname, str(file)))


def load(name: str) -> None:
    """From now on the named guard is not there. Must be called before the product is imported."""
    mutant = BY_NAME[name]
    assert f"penstock.index.{mutant.module}" not in sys.modules
    sys.meta_path.insert(0, _Finder(mutant))


if os.environ.get("PENSTOCK_MUTANT"):
    load(os.environ["PENSTOCK_MUTANT"])
