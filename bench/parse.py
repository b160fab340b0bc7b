"""How fast and how well files are parsed, on one core: `python -m bench.parse FOLDER… [--json]`.

Every file below the folders goes through a pool of one process, as in a run. Printed per kind: files and pages per
second, files that became documents, and for PDFs the share of `pdftotext`'s words that were found in each file, where
poppler is installed. Times are wall clock of the one process, its start left out; memory is its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import time
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from penstock.connectors.parsing.pool import ParserPool
from penstock.connectors.types import Document, Failed, Fetched, Rejected

_WORD = re.compile(r"\w+")


@dataclass
class Kind:
    """What became of the files of one kind."""

    files: int = 0
    documents: int = 0
    pages: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    recalls: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        shown: dict[str, object] = {"files": self.files, "documents": self.documents, "pages": self.pages}
        shown |= {"seconds": round(self.seconds, 2), "reasons": dict(self.reasons)}
        shown["files_per_second"] = round(self.files / self.seconds, 1)
        if self.pages:
            shown["pages_per_second"] = round(self.pages / self.seconds, 1)
        if self.recalls:
            shown |= {"recall_files": len(self.recalls), "recall_median": round(statistics.median(self.recalls), 4)}
            shown |= {"recall_mean": round(statistics.fmean(self.recalls), 4)}
        return shown


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    asked = arguments.parse_args()
    kinds, slowest, peak = measure([file for folder in asked.folders for file in sorted(folder.rglob("*"))])
    if asked.json:
        found = {kind: each.figures() for kind, each in sorted(kinds.items())}
        print(json.dumps({"kinds": found, "slowest": slowest, "peak_mib": peak}, indent=1))
        return
    print(f"{'kind':<10}{'files':>6}{'docs':>6}{'files/s':>9}{'pages/s':>9}{'recall median':>15}{'mean':>8}  not read")
    for kind, each in sorted(kinds.items()):
        shown = each.figures()
        speeds = f"{shown['files_per_second']:>9}{shown.get('pages_per_second', ''):>9}"
        recall = f"{shown.get('recall_median', ''):>15}{shown.get('recall_mean', ''):>8}"
        reasons = ", ".join(f"{count} {reason}" for reason, count in each.reasons.most_common())
        print(f"{kind:<10}{each.files:>6}{each.documents:>6}{speeds}{recall}  {reasons}")
    print(f"slowest: {slowest[1]} s, {slowest[0]}; peak memory of the parser process: {peak} MiB")


def measure(files: list[Path]) -> tuple[dict[str, Kind], tuple[str, float], int]:
    """Figures by kind, the slowest file and its seconds, and the peak memory in MiB."""
    kinds: dict[str, Kind] = {}
    slowest, peak = ("", 0.0), 0
    with ParserPool(1) as pool:
        for path in (each for each in files if each.is_file() and not each.is_symlink()):
            peak = max(peak, _peak_of_children())  # before it may be replaced
            if not peak:
                pool.parse(Fetched(path, path.name))  # starts the process
            began = time.perf_counter()
            outcome = pool.parse(Fetched(path, path.name))
            took = time.perf_counter() - began
            slowest = max(slowest, (path.name, round(took, 2)), key=lambda each: each[1])
            _count(kinds, path, outcome, took)
        peak = max(peak, _peak_of_children())
    return kinds, slowest, peak


def _count(kinds: dict[str, Kind], path: Path, outcome: Document | Rejected | Failed, took: float) -> None:
    name = outcome.kind if isinstance(outcome, Document) else _kind(getattr(outcome, "parser", ""))
    kind = kinds.setdefault(name, Kind())
    kind.files += 1
    kind.seconds += took
    if isinstance(outcome, Document):
        kind.documents += 1
        kind.pages += int(outcome.metadata.get("pages", 0))
    else:
        kind.reasons[outcome.reason] += 1
    if name == "pdf" and (expected := _by_poppler(path)):
        found = _words(outcome.text) if isinstance(outcome, Document) else Counter()
        kind.recalls.append(sum((expected & found).values()) / expected.total())


def _kind(parser: str) -> str:
    own = parser.split("/")[0]
    return "none" if own in ("", "sniff") else own


def _by_poppler(path: Path) -> Counter[str]:
    """The words that `pdftotext` finds; none where it fails or is not installed."""
    if not shutil.which("pdftotext"):
        return Counter()
    told = subprocess.run(["pdftotext", "-q", "-enc", "UTF-8", str(path), "-"], capture_output=True, timeout=120)
    return _words(told.stdout.decode("utf-8", "replace")) if told.returncode == 0 else Counter()


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def _peak_of_children() -> int:
    """MiB, the largest resident set that a living child of this process ever had."""
    children = " ".join(each.read_text() for each in Path("/proc/self/task").glob("*/children")).split()
    peaks = [0]
    for child in children:
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        peaks += [int(size) >> 10 for size in re.findall(r"VmHWM:\s+(\d+) kB", status)]
    return max(peaks)


if __name__ == "__main__":
    main()
