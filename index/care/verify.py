"""Walk everything, change nothing, and list what is wrong, with the remedy for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from penstock.index.blobs import scrub
from penstock.index.blobs.scrub import Copy, Rate
from penstock.index.care import audit, invariants, survey
from penstock.index.care.survey import Decided, Replica, Truth
from penstock.index.catalog.catalog import Catalog
from penstock.index.commits import log, markers
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import BlobRef, Finding, Manifest

REPAIR = "penstock repair"
REMAKE = "mount its disk; if it is lost, penstock repair, or any ingest, makes it again from the others"
REPLACE = "penstock replica replace: what it alone has is given up"
NOTHING = "nothing could be checked: no replica answers"
NOT_ALL = "not everything could be checked: no replica answers any more"
BRING = "bring a replica back, then penstock verify"
ANSWER = "see that it answers, then penstock verify"
RETURN = "bring it back, then penstock repair; if it is lost, penstock replica replace or remove"
EMBED = (
    "penstock repair takes it from another replica or a DR store; what is whole nowhere is marked, and penstock ingest "
    "embeds it again"
)
BUG = "penstock ingest; if it stays, it is a bug: please report it"
_MOST = 1000
"""Lines about contradictions in the content; more are counted."""

Progress = Callable[[str, int, int], None]


def verify(
    stores: Sequence[Store] | Mapping[str, Store],
    catalog: Catalog | str | None,
    *,
    report_progress: Progress,
    rate_bytes: int | None = None,
    clock: Callable[[], float] | None = None,
    sleep: Callable[[float], object] | None = None,
) -> list[Finding]:
    """Check every replica against the log, every blob against its name, and the state against the vectors.

    `stores` by replica id also says which is which. `report_progress(what, done, total)` is called as it goes on.
    At most `rate_bytes` a second are read (`clock` in monotonic seconds, `sleep` in seconds). Blobs that no version
    names are not findings: a commit may be in flight. Never raises for damage; a commit that lands meanwhile is not
    looked at, and what expires meanwhile is not missed. Where no replica answers, that is all that is said.
    """
    rate = Rate(rate_bytes, clock, sleep)
    by_id = dict(stores) if isinstance(stores, Mapping) else {}
    findings: list[Finding] = []
    decided = _ask(catalog, findings)
    replicas = _found(list(by_id.values()) or list(stores), decided, findings)  # type: ignore[arg-type]
    truth, forks = survey.known(decided, replicas)
    replicas = _without(forks, replicas, findings)
    if not replicas and any(finding.kind == "unreachable" for finding in findings):
        return [*findings, Finding("index", NOTHING, BRING, "unreachable")]
    try:
        walked = walk(truth, [replica.store for replica in replicas])
    except WrongIndex as error:
        return [*findings, Finding("versions", str(error), "upgrade penstock", "foreign")]
    findings += walked.findings
    for replica in replicas:
        findings += _check_markers(replica, truth, walked.head, by_id)
    findings += _check_blobs(replicas, walked, rate, report_progress)
    there = _still_there(replicas, findings)
    if replicas and not there:
        of_others = [finding for finding in findings if finding not in walked.findings]
        return [*of_others, Finding("index", NOT_ALL, BRING, "unreachable")]
    # Only now: what a writer had decided and not yet published when this began has been published meanwhile.
    for replica in there:
        findings += _check_log(replica, truth)
    if decided is not None:
        findings += _check_catalog(decided, truth, replicas)
    if walked.head is not None:
        report_progress("documents", 0, 1)
        findings += _content(walked.head, [replica.store for replica in there])
        report_progress("documents", 1, 1)
    return findings


@dataclass(slots=True)
class Walked:
    """What the versions need: each blob with the newest version that names it, newest first."""

    head: Manifest | None = None
    newest: Manifest | None = None
    """The head, or the newest version before it whose manifest is good."""
    needed: dict[str, tuple[BlobRef, int]] = field(default_factory=dict)
    oldest: dict[str, int] = field(default_factory=dict)
    """The oldest version that names each blob."""
    broken: dict[int, str] = field(default_factory=dict)
    """Versions whose manifest is good on no replica, and why."""
    findings: list[Finding] = field(default_factory=list)


def walk(truth: Truth, stores: Sequence[Store]) -> Walked:
    """Read every manifest; two at a time are in memory. Raises `WrongIndex` for one of a newer penstock."""
    walked = Walked()

    def chain() -> Iterator[tuple[LogRecord, Manifest]]:
        for record in sorted(truth.records.values(), key=lambda record: record.version):
            try:
                made = survey.manifest(stores, record)
            except (Corrupt, Unavailable) as error:
                walked.broken[record.version] = str(error)
                made = None
            for ref in survey.needed(record, made):
                walked.oldest.setdefault(ref.name, record.version)
                walked.needed.pop(ref.name, None)
                walked.needed[ref.name] = ref, record.version
            walked.head = made if record.version == truth.head else None
            if made is not None:
                walked.newest = made
                yield record, made

    walked.findings += [Finding("versions", what, BUG, "history") for what in invariants.wrong_chain(chain())]
    walked.needed = dict(reversed(walked.needed.items()))
    for version, why in walked.broken.items():
        walked.findings.append(Finding(f"version {version}", why, EMBED if version == truth.head else REPAIR, "blob"))
    return walked


def _ask(catalog: Catalog | str | None, findings: list[Finding]) -> Decided | None:
    try:
        decided = survey.ask(catalog)
    except WrongIndex as error:
        findings.append(Finding("catalog", str(error), "upgrade penstock", "catalog"))
        return None
    if decided is not None and decided.fault:
        remedy = ANSWER if decided.away else REPAIR + " makes it again from the replicas"
        findings.append(Finding("catalog", decided.fault.removeprefix("catalog "), remedy, "catalog"))
    return decided


def _found(stores: Sequence[Store], decided: Decided | None, findings: list[Finding]) -> list[Replica]:
    """The replicas of this index; one finding, not thousands, for each store that is none or does not answer."""
    found = []
    for store in stores:
        try:
            found.append(survey.look(store))
        except Unavailable as error:
            absent = isinstance(store, LocalStore) and not os.path.lexists(store.root)
            findings.append(Finding(store.name, _said(store, error), REMAKE if absent else RETURN, "unreachable"))
        except IndexFault as error:
            findings.append(Finding(store.name, _said(store, error), "upgrade penstock", "foreign"))
    of = survey.lineage(decided, found)
    ours = []
    for replica in found:
        try:
            why = survey.stranger(replica, of)
        except Unavailable as error:
            findings.append(Finding(replica.store.name, _said(replica.store, error), RETURN, "unreachable"))
            continue
        if why:
            findings.append(Finding(replica.store.name, why, "configure the right place", "foreign"))
        else:
            ours.append(replica)
    return ours


def _without(forks: Mapping[str, str], replicas: Sequence[Replica], findings: list[Finding]) -> list[Replica]:
    findings += [Finding(name, why, REPLACE, "foreign") for name, why in forks.items()]
    return [replica for replica in replicas if replica.store.name not in forks]


def _still_there(replicas: Sequence[Replica], findings: Sequence[Finding]) -> list[Replica]:
    """Those that did not stop answering meanwhile: each further question would cost its time-out."""
    away = {finding.where for finding in findings if finding.kind == "unreachable"}
    return [replica for replica in replicas if replica.store.name not in away]


def _check_markers(
    replica: Replica, truth: Truth, head: Manifest | None, by_id: Mapping[str, Store]
) -> Iterator[Finding]:
    name, mine = replica.store.name, replica.marker
    for key, what in replica.damaged.items():
        yield Finding(name, f"{key} {what}", REPAIR, "log" if log.parse(key) else "marker")
    if mine is None and markers.REPLICA not in replica.damaged:
        yield Finding(name, f"it has no {markers.REPLICA}", REPAIR, "marker")
    known = replica.damaged.keys() & {markers.epoch_key(truth.epoch.epoch)} if truth.epoch else ()
    if truth.epoch is not None and replica.epochs.get(truth.epoch.epoch) != truth.epoch and not known:
        yield Finding(name, "it lacks the marker of the present epoch", REPAIR, "marker")
    if replica.floor < truth.floor:
        yield Finding(name, f"it lacks the marker that version {truth.floor} has expired", REPAIR, "marker")
    if mine is None:
        return
    ids = [key for key, store in by_id.items() if store is replica.store]
    if ids and mine.id != ids[0]:
        yield Finding(name, f"it is replica {mine.id}, not {ids[0]}", "configure the right places", "foreign")
    if head is not None and survey.member(mine) not in head.membership.replicas:
        yield Finding(name, f"it is no member of this index (replica {mine.id})", REPLACE, "foreign")


def _check_log(replica: Replica, truth: Truth) -> Iterator[Finding]:
    have = {version for version, record in truth.records.items() if _publishes(replica, record)}
    damaged = {parsed[0] for key in replica.damaged if (parsed := log.parse(key))}
    for what in invariants.wrong_continuity(have | damaged, truth.head, truth.floor):
        yield Finding(replica.store.name, what, REPAIR + " (any ingest catches up a replica that is behind)", "log")


def _publishes(replica: Replica, record: LogRecord) -> bool:
    """Whether the replica has this record, or has got it since it was looked at."""
    if (record.version, record.epoch) in replica.records:
        return True
    try:
        return replica.store.size(log.key(record.version, record.epoch)) is not None
    except IndexFault:
        return False


def _check_catalog(decided: Decided, truth: Truth, replicas: Sequence[Replica]) -> Iterator[Finding]:
    if decided.meta is None:
        return
    again = REPAIR + " makes it again from the replicas"
    published = max(
        (v for v, record in truth.records.items() if any(_publishes(r, record) for r in replicas)), default=0
    )
    if decided.head > max(published, truth.floor) and replicas:
        what = f"it decided version {decided.head}, the replicas publish version {published}"
        yield Finding("catalog", what, "penstock repair, or any ingest, publishes what was decided", "catalog")
    elif decided.head < truth.head:
        what = f"it decided version {decided.head}, the replicas publish version {truth.head}"
        yield Finding("catalog", what, again, "catalog")
    for version, record in decided.records.items():
        if version > truth.floor and truth.records.get(version) != record:
            yield Finding("catalog", f"its version {version} is not what the replicas publish", again, "catalog")
    said = (decided.meta.epoch, decided.meta.epoch_id)
    if truth.epoch is not None and said != (truth.epoch.epoch, truth.epoch.epoch_id):
        what = f"it is in epoch {decided.meta.epoch}, the replicas have seen epoch {truth.epoch.epoch}"
        yield Finding("catalog", what, again, "catalog")


def _check_blobs(
    replicas: Sequence[Replica], walked: Walked, rate: Rate, report_progress: Progress
) -> Iterator[Finding]:
    """Every blob that a retained version needs lies on every replica, each byte as its name says."""
    done, total, there = count(1), len(walked.needed) * len(replicas), list(replicas)
    for replica in replicas:
        for ref, version in walked.needed.values():
            report_progress(replica.store.name, next(done), total)
            copy = scrub.examine(replica.store, ref, rate)
            if copy is Copy.MISSING and _expired(there, version):
                continue
            if copy is Copy.UNREADABLE and (away := _away(replica.store)):
                yield Finding(replica.store.name, away, RETURN, "unreachable")
                there.remove(replica)
                break
            if copy is not Copy.WHOLE:
                yield Finding(replica.store.name, f"blob {ref.name} {copy.value}", REPAIR, "blob")


def _away(store: Store) -> str:
    """Why the store does not answer any more; empty if it does, and only one file of it cannot be read."""
    try:
        store.size(markers.REPLICA)
    except (IndexFault, OSError) as error:
        return _said(store, error)
    return ""


def _said(store: Store, error: Exception) -> str:
    """What is wrong with a store, without its name, which stands before it."""
    return str(error).removeprefix(f"{store.name}: ")


def _expired(replicas: Sequence[Replica], version: int) -> bool:
    """Whether the version expired since the walk began: then its blobs may be gone."""
    for replica in replicas:
        try:
            if markers.floor(replica.store) >= version:
                return True
        except IndexFault:
            continue
    return False


def _content(head: Manifest, stores: Sequence[Store]) -> list[Finding]:
    """What is wrong with it; nothing where that is only that no store answers any more."""
    wrong = list(_check_content(head, stores))
    gone = [(store.name, why) for store in stores if (why := _away(store))] if wrong else []
    away = [Finding(name, why, RETURN, "unreachable") for name, why in gone]
    if away and len(away) == len(stores):
        return [*away, Finding("index", NOT_ALL, BRING, "unreachable")]
    return [*away, *wrong]


def _check_content(head: Manifest, stores: Sequence[Store]) -> Iterator[Finding]:
    where = f"version {head.version}"
    found = audit.audit(head, stores)
    yield from (Finding(where, what, EMBED, "documents") for what in islice(found, _MOST))
    more = sum(1 for _ in found)
    if more:
        yield Finding(where, f"and {more} more like these", EMBED, "documents")
