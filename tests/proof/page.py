"""docs/reliability.md: what stands between the markers is computed, the prose around it is left alone."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from tests.proof import rough_page
from tests.proof.real import report

Results = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
NONE = "not run"
BESIDE = {"sources", "rough", "screens", "zombie"}
"""Parts that the table of figures says nothing of: those about sources have sections of their own."""


def write(page: Path, results: Results) -> None:
    """Put what was run between its markers; the rest stays. Raises `ValueError` where markers are missing."""
    text = page.read_text()
    blocks: list[tuple[str, list[str]]] = []
    if results.keys() - BESIDE:
        blocks += [("figures", figures(results)), ("mutants", mutants(results)), ("machine", machine())]
    if "sources" in results:
        blocks.append(("servers", [*machine(), "", *report.lines(results["sources"])]))
    if "rough" in results:
        blocks.append(("rough", [*machine(), "", *rough_page.lines(results["rough"])]))
    for name, lines in blocks:
        block = f"<!-- {name} -->\n{chr(10).join(lines)}\n<!-- /{name} -->"
        text, count = re.subn(
            rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{page} must have one <!-- {name} --> … <!-- /{name} -->")
    page.write_text(text)


def machine() -> list[str]:
    """Where and when, and of which commit."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = _git("rev-parse", "--short", "HEAD")
    changed = " and changes that were not committed" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return [
        f"{date.today()}, commit {commit}{changed}; {cpu.group(1) if cpu else platform.machine()}, "
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {platform.system()} "
        f"{platform.release().split('-')[0]}."
    ]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _get(results: Results, *path: str) -> Any:
    at: Any = results
    for name in path:
        if not isinstance(at, dict) or name not in at:
            return NONE
        at = at[name]
    return at


def figures(results: Results) -> list[str]:
    """The table of figures."""

    def of(*path: str) -> Any:
        return _get(results, *path)

    def total(*paths: tuple[str, ...]) -> Any:
        known = [value for path in paths if isinstance(value := of(*path), int)]
        return sum(known) if known else NONE

    kinds = Counter[str]()
    for said in (of("soak", "damage"), of("servers", "damage"), of("damage", "by_kind")):
        kinds.update(_counts(said))
    wrong = sum(len(value) for part in ("soak", "servers", "power", "damage")
                if isinstance(value := of(part, "wrong"), list))  # fmt: skip
    rows: list[tuple[str, str]] = [
        ("schedules simulated", _said(of("sim", "schedules"))),
        ("crashes simulated", _said(of("sim", "crashes"))),
        ("commits acknowledged: simulated", _said(of("sim", "acked"))),
        ("commits acknowledged: real processes", _said(total(("soak", "commits acknowledged"),
                                                            ("servers", "commits acknowledged")))),
        ("SIGKILL: library, real servers, whole command", f"{_said(of('soak', 'kills'))}, "
         f"{_said(of('servers', 'kills'))}, {_said(of('kills', 'kills'))}"),
        ("SIGSTOP: library, real servers", f"{_said(of('soak', 'stops'))}, {_said(of('servers', 'stops'))}"),
        ("disks booted after a power loss", _said(of("power", "disks"))),
        ("damage done to real files", "; ".join(f"{name}: {count}" for name, count in sorted(kinds.items())) or NONE),
        ("faults simulated", "; ".join(f"{k}: {n}" for k, n in _counts(of("sim", "faults")).items()) or NONE),
        ("**acknowledged commits lost** (simulated; with real processes any loss is a violation)",
         _said(of("sim", "lost"))),
        ("**violations of an invariant** (simulated; everywhere else)", f"{_said(of('sim', 'violations'))}; {wrong}"),
        ("damage detected by `verify`", f"{_said(of('damage', 'detected'))} of {_said(of('damage', 'damaged'))}"),
        ("hits equal to a clean build after kills of the whole command", _said(of("kills", "hits_equal"))),
        ("home lost and restored by the whole command, 20 kills, a time, a rollback: promises kept",
         _kept(results.get("recovery", {}))),
        ("`make demo-disaster`: figures as they must be; seconds to the first answer after the home was lost",
         f"{_as_should_be(of('disaster', 'figures'))}; "
         f"{_said(of('disaster', 'figures', 'seconds to the first answer', 'said'))}"),
        ("reader, one replica ill in any way: p50 / p99 (target: p99 at most 2,000 ms)",
         f"{_said(of('failover', 'p50'))} / {_said(of('failover', 'p99'))} ms, "
         f"most {_said(of('failover', 'max'))} ms"),
        ("write recovery (open after a crash) p50 / p99 / most",
         f"{_said(of('soak', 'recovery_p50_s'))} / {_said(of('soak', 'recovery_p99_s'))} / "
         f"{_said(of('soak', 'recovery_max_s'))} s"),
        ("the same, one replica on S3, catalog in PostgreSQL",
         f"{_said(of('servers', 'recovery_p50_s'))} / {_said(of('servers', 'recovery_p99_s'))} / "
         f"{_said(of('servers', 'recovery_max_s'))} s"),
        ("scrub, both replicas", f"{_said(of('cost', 'scrub_gb_min'))} GB/min"),
        ("repair of a lost replica: alone / while searched",
         f"{_said(of('cost', 'repair_s_per_gb'))} / {_said(of('cost', 'repair_while_searched_s_per_gb'))} s/GB"),
    ]  # fmt: skip
    for n in (1, 2, 3):
        p50, p99 = of("cost", f"commit_n{n}_p50_s"), of("cost", f"commit_n{n}_p99_s")
        share = f", {100 * p50 / 60:.1f} % of a shard's 60 s" if isinstance(p50, float) else ""
        rows.append((f"commit of {_said(of('cost', 'commit_vectors'))} vectors, N={n}, p50 / p99 (target: 2 %)",
                     f"{_said(p50)} / {_said(p99)} s{share}"))  # fmt: skip
    for name, what in (("healthy", "healthy"), ("one_down", "one replica down"), ("during_repair", "during repair")):
        rows.append((f"{_said(of('cost', 'index_vectors'))} vectors, {what}: recall@10, queries/s",
                     f"{_said(of('cost', name, 'recall'))}, {_said(of('cost', name, 'qps'))}"))  # fmt: skip
    failed = [name for name, result in sorted(results.items())
              if name not in BESIDE and isinstance(result, dict) and result.get("exit")]  # fmt: skip
    rows.append(("parts that failed in this run", ", ".join(failed) or "none"))
    return ["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]


def mutants(results: Results) -> list[str]:
    """The table of guards that were cut out."""
    each = _get(results, "mutations", "each")
    if not isinstance(each, list):
        return [NONE]
    caught = sum(one["fate"] == "caught" for one in each)
    rows = [
        f"| {one['kind']} | {one['guard']} | {one['fate']} | {one['by'].removeprefix('tests/')} |".replace("<", "&lt;")
        for one in each
    ]
    return [
        f"{caught} of {len(each)} were noticed.",
        "",
        "| kind | what was cut out | | by |",
        "|---|---|---|---|",
        *rows,
    ]


def _kept(said: dict[str, Any]) -> str:
    promises = [value for value in said.values() if isinstance(value, bool)]
    return f"{sum(promises)} of {len(promises)}" if promises else NONE


def _as_should_be(figures: Any) -> str:
    if not isinstance(figures, dict):
        return NONE
    return f"{sum(figure['good'] for figure in figures.values())} of {len(figures)}"


def _counts(value: Any) -> dict[str, int]:
    return dict(value) if isinstance(value, dict) else {}


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,}" if isinstance(value, int) else str(value)
