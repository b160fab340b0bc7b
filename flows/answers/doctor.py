"""What `doctor` says: a verdict, the next command, what is wrong and how to mend it, the facts behind it."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.embed.engine.gpus import Gpu
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, USAGE
from penstock.flows.answers.render import count, duration, plain, size, table

Level = Literal["problem", "warning", "note"]


class Finding(msgspec.Struct, frozen=True):
    """`problem`: nothing can be embedded until it is mended; `warning`: it works, but worse than it could or not for
    long; `note`: worth knowing. `fix`: what to do, a command where there is one."""

    level: Level
    what: str
    fix: str = ""


class Machine(msgspec.Struct, frozen=True):
    """`cores`: of the machine; `usable`: by this process, with affinity and quota. `flags`: what speeds embedding up.

    Memory in bytes, as this process may use it; None where the system does not say. `memory_limit`: who sets it.
    """

    system: str
    processor: str
    cores: int
    usable: int
    load: float
    flags: list[str]
    memory_free: int | None
    memory_total: int | None
    memory_limit: str
    open_files: int
    gpus: list[Gpu] | None = None
    """None: nobody asked torch."""


class ModelFacts(msgspec.Struct, frozen=True):
    """Read from its files. `identity` decides which vectors may be compared."""

    name: str
    path: str
    dim: int
    max_tokens: int
    chunk_tokens: int
    pooling: str
    identity: dict[str, str]


class Engine(msgspec.Struct, frozen=True):
    """The loaded model on one device; `slot` names it among all runs of this host.

    `tokens_per_second`: measured on the built-in sample, None where it was not; `padding`: the share of computed
    tokens that were padding. `provenance`: all that the encoder says of itself.
    """

    slot: str
    load_seconds: float
    tokens_per_second: float | None
    padding: float | None
    provenance: dict[str, str]


class Feed(msgspec.Struct, frozen=True):
    """How fast one kind of file becomes tokens: parsing in one process, cutting in the run's own. `times`: so many
    times what the device takes, with `workers` processes; `enough`: that many processes would feed it (None: none
    would, cutting is slower than the device). All three None where the device was not measured."""

    kind: str
    parse_tokens_per_second: float
    cut_tokens_per_second: float
    workers: int
    times: float | None = None
    enough: int | None = None


class SourcePace(msgspec.Struct, frozen=True):
    """What a source gives: its limits, and what the last run of it alone measured (None: never)."""

    name: str
    type: str
    requests_per_second: float | None = None
    per_day: int | None = None
    documents_per_hour: float | None = None
    tokens_per_second: float | None = None


class Place(msgspec.Struct, frozen=True):
    """A folder that runs write to. `there` False: it will be made. `free`: bytes. `disk`: equal for places on one."""

    what: str
    path: str
    there: bool
    free: int
    writable: bool
    disk: int = 0


class Report(msgspec.Struct):
    """All of it; filled in as it is found."""

    verdict: str = ""
    next: str = ""
    usable: bool = False
    healthy: bool = False
    findings: list[Finding] = msgspec.field(default_factory=list)
    versions: dict[str, str | None] = msgspec.field(default_factory=dict)
    machine: Machine | None = None
    model: ModelFacts | None = None
    engines: list[Engine] = msgspec.field(default_factory=list)
    tokens_per_second: float | None = None
    """Of all devices together, where each was measured."""
    endpoint: str | None = None
    past_tokens_per_second: float | None = None
    feeding: list[Feed] = msgspec.field(default_factory=list)
    sources: list[SourcePace] = msgspec.field(default_factory=list)
    places: list[Place] = msgspec.field(default_factory=list)


def judge(report: Report, again: str, same_place: str) -> int:
    """Fill in the verdict, the next command and the two flags; returns the exit code. `again`: this command."""
    order = {"problem": 0, "warning": 1, "note": 2}
    report.findings.sort(key=lambda each: order[each.level])
    worst = report.findings[0] if report.findings else Finding("note", "")
    report.usable, report.healthy = worst.level != "problem", worst.level == "note"
    report.next = worst.fix or again
    match worst.level:
        case "problem":
            report.verdict = f"Not usable: {worst.what.rstrip('.')}."
            return USAGE
        case "warning":
            warnings = sum(1 for each in report.findings if each.level == "warning")
            report.verdict = f"Works, with {count(warnings, 'warning')}: {worst.what.rstrip('.')}."
            return INCOMPLETE
    report.verdict = f"Ready: {_strength(report)}."
    report.next = f"penstock ingest PATH{same_place}"
    return COMPLETE


def _strength(report: Report) -> str:
    if report.endpoint:
        return f"vectors come from {report.endpoint}"
    if not report.engines:
        return "nothing is in the way, as far as can be seen without loading the model"
    said = ", ".join(dict.fromkeys(each.provenance.get("device", each.slot) for each in report.engines))
    said = f"{count(len(report.engines), 'device')} ({said})" if len(report.engines) > 1 else said
    if report.tokens_per_second:
        said += f" {'embed' if len(report.engines) > 1 else 'embeds'} {report.tokens_per_second:,.0f} tokens/s"
    else:
        said += " can embed"
    plain_text = next((each for each in report.feeding if each.kind == "text" and each.times), None)
    return f"{said}, and plain text feeds it {plain_text.times:.1f}×" if plain_text else said


def render(report: Report) -> str:
    """For people. The findings first, worst first."""
    marks = {"problem": "FAIL", "warning": "warn", "note": "note"}
    rows = [
        (marks[each.level], plain(each.what) + (f" → {plain(each.fix)}" if each.fix else ""))
        for each in report.findings
    ]
    parts = [f"{plain(report.verdict)}\nNext: {plain(report.next)}", table(rows), table(_facts(report)), _fed(report)]
    return "\n\n".join(part for part in parts if part)


def _facts(report: Report) -> list[tuple[str, str]]:
    rows = [("vectors come from", report.endpoint)] if report.endpoint else []
    rows += [("versions", ", ".join(f"{name} {found}" for name, found in report.versions.items() if found))]
    missing = [name for name, found in report.versions.items() if found is None]
    rows += [("not installed", ", ".join(missing))] if missing else []
    rows += _machine(report.machine) if report.machine else []
    if (model := report.model) is not None:
        rows.append(
            ("model", f"{model.name}: {model.dim} dimensions, {model.max_tokens} tokens, {model.pooling} pooling")
        )
        rows.append(("weights", f"sha256 {model.identity.get('weights', '')[:16]}… in {model.path}"))
        rows.append(("chunks", f"{model.chunk_tokens} tokens"))
    for engine in report.engines:
        rows += _engine(engine)
    if report.past_tokens_per_second:
        rows.append(("the last run here", f"{report.past_tokens_per_second:,.0f} tokens/s"))
    for place in report.places:
        state = "" if place.writable else ", cannot be written"
        rows.append((place.what, f"{place.path}: {size(place.free)} free{state}"))
    return [(name, plain(said)) for name, said in rows]


def _machine(machine: Machine) -> list[tuple[str, str]]:
    memory = "not known"
    if machine.memory_free is not None and machine.memory_total is not None:
        memory = f"{size(machine.memory_free)} free of {size(machine.memory_total)} ({machine.memory_limit})"
    rows = [
        ("processor", f"{machine.processor}: {machine.usable} of {machine.cores} cores, load {machine.load:.1f}"),
        ("speeds it up", " ".join(machine.flags) or "nothing: no half precision on this processor"),
        ("memory", memory),
    ]
    for gpu in machine.gpus or ():
        rows.append((gpu.device, f"{gpu.name}: {size(gpu.free)} free of {size(gpu.total)}"))
    return rows


def _engine(engine: Engine) -> list[tuple[str, str]]:
    said = engine.provenance
    rows = [
        (
            "device",
            f"{said.get('device', '?')}, {said.get('threads', '?')} threads, loaded in {duration(engine.load_seconds)}",
        )
    ]
    for key, name in (("path", "path"), ("dtype", "number format"), ("budget", "batch")):
        if said.get(key):
            why = said.get(f"{key}_why", "")
            rows.append((name, f"{said[key]}: {why}" if why and key != "budget" else why or f"{said[key]} tokens"))
    if said.get("parity"):
        rows.append(("parity", said["parity"]))
    if engine.tokens_per_second:
        padding = f", {engine.padding:.1%} of it padding" if engine.padding is not None else ""
        rows.append(("measured now", f"{engine.tokens_per_second:,.0f} tokens/s{padding}"))
    return rows


def _fed(report: Report) -> str:
    rows = [sentence(each) for each in report.feeding]
    rows += [pace(each) for each in report.sources]
    return "\n".join(rows)


_KINDS = {"text": "Plain text", "html": "HTML", "pdf": "PDF"}


def sentence(feed: Feed) -> str:
    """Whether this kind of file can feed the device."""
    name = _KINDS.get(feed.kind, feed.kind)
    speed = f"{feed.parse_tokens_per_second:,.0f} tokens/s a process, cutting {feed.cut_tokens_per_second:,.0f}"
    if feed.times is None:
        return f"{name}: {speed}."
    if feed.times >= 1:
        return f"{name} feeds the device {feed.times:.1f}× with parse.workers = {feed.workers} ({speed})."
    said = f"{name} feeds {feed.times:.0%} of the device with parse.workers = {feed.workers} ({speed}): "
    if feed.enough is None:
        return said + "cutting into tokens is what limits."
    return said + f"parse.workers = {feed.enough} would feed it."


def pace(source: SourcePace) -> str:
    """What a source gives, as far as it is known."""
    said = [f"{source.documents_per_hour:,.0f} documents/hour at most"] if source.documents_per_hour else []
    if source.tokens_per_second:
        said.append(f"{source.tokens_per_second:,.0f} tokens/s in the last run of it alone")
    return plain(f"Source {source.name}: {', '.join(said) or 'no limit set, never measured'}.")
