"""Walk everything, change nothing, and list what is wrong, with the remedy for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from penstock.index import blob, invariants, log, markers, replicas
from penstock.index import manifest as manifests
from penstock.index.catalog import Catalog
from penstock.index.errors import Corrupt, IndexFault
from penstock.index.log import LogRecord
from penstock.index.segment import Segment
from penstock.index.state import StateView
from penstock.index.store import Store
from penstock.index.types import BlobRef, Finding, Manifest, Member

REBUILD = "move the replica's directory away and run any ingest: it is made again from the others"
RETURN = "bring it back; if it is lost, run any ingest: an absent local replica is made again from the others"
EMBED = "ingest its sources again; if that does not help, restore a snapshot"
CATALOG = "put back the newest copy of the catalog; rebuilding it is not built yet"


def verify(
    stores: Sequence[Store], catalog_url: str | None, *, report_progress: Callable[[str, int, int], None]
) -> list[Finding]:
    """Check every replica against the log, every blob against its name, and the state against the vectors.

    `report_progress(what, done, total)` is called as it goes on. Blobs that no version names are not findings:
    a commit may be in flight. Never raises for damage; a commit that lands meanwhile is not looked at.
    """
    findings: list[Finding] = []
    stores = _reachable(stores, findings)
    chain, ratified = _history(stores, catalog_url, findings)
    head = chain[-1][0].version if chain else 0
    for store in stores:
        findings += _check_markers(store, chain[-1] if chain else None)
        findings += _check_log(store, {record.version: record for record, _ in chain}, head)
    findings += [Finding("versions", what, EMBED) for what in invariants.wrong_chain(chain)]
    findings += _check_blobs(stores, chain, report_progress)
    if ratified is not None and ratified != head:
        findings.append(
            Finding(
                "catalog",
                f"it decided version {ratified}, the replicas publish version {head}",
                "run any ingest: it publishes what was decided" if ratified > head else CATALOG,
            )
        )
    if chain:
        findings += _check_documents(stores, chain[-1][1])
    return findings


Chain = list[tuple[LogRecord, Manifest]]


def _history(stores: Sequence[Store], url: str | None, findings: list[Finding]) -> tuple[Chain, int | None]:
    """Every version that any replica publishes, with its manifest; and the version that the catalog decided."""
    ratified = _ratified(url, findings)
    best: dict[int, LogRecord] = {}
    for store in stores:
        for version, epoch in log.entries(store):
            try:
                record = log.read(store, version, epoch, store.name)
            except (IndexFault, FileNotFoundError):
                continue  # said by _check_log
            if version not in best or epoch > best[version].epoch:
                best[version] = record
    chain = []
    for version in sorted(best):
        try:
            ref = best[version].manifest
            chain.append((best[version], replicas.read_manifest(stores, ref, lambda _: None)))
        except IndexFault as error:
            findings.append(Finding(f"version {version}", str(error), EMBED))
    return chain, ratified


def _ratified(url: str | None, findings: list[Finding]) -> int | None:
    if url is None:
        return None
    try:
        catalog = Catalog(url)
        if catalog.meta() is None:
            findings.append(Finding("catalog", f"there is none at {catalog.name}", CATALOG))
            return None
        head = catalog.head()
        return head.version if head else 0
    except IndexFault as error:
        findings.append(Finding("catalog", str(error), CATALOG))
        return None


def _reachable(stores: Sequence[Store], findings: list[Finding]) -> list[Store]:
    """The stores that answer; one finding, not thousands, for each that does not."""
    there = []
    for store in stores:
        try:
            log.entries(store)
            there.append(store)
        except IndexFault as error:
            findings.append(Finding(store.name, str(error), RETURN))
    return there


def _check_markers(store: Store, head: tuple[LogRecord, Manifest] | None) -> Iterator[Finding]:
    try:
        mine, epoch = markers.replica(store), markers.highest(store)
    except IndexFault as error:
        yield Finding(store.name, str(error), REBUILD)
        return
    if mine is None:
        yield Finding(store.name, f"it has no {markers.REPLICA}", REBUILD)
    if epoch is None or (head is not None and epoch.epoch < head[0].epoch):
        yield Finding(store.name, "it lacks the marker of the present epoch", REBUILD)
    if mine is None or head is None:
        return
    if mine.lineage != head[1].lineage:
        yield Finding(store.name, f"it belongs to another index ({mine.lineage})", "configure the right place")
    elif Member(mine.id, mine.incarnation) not in head[1].membership.replicas:
        yield Finding(store.name, f"it is no member of this index (replica {mine.id})", REBUILD)


def _check_log(store: Store, known: dict[int, LogRecord], head: int) -> Iterator[Finding]:
    versions = []
    for version, epoch in log.entries(store):
        try:
            record = log.read(store, version, epoch, store.name)
        except (IndexFault, FileNotFoundError) as error:
            yield Finding(store.name, str(error), REBUILD)
            continue
        versions.append(version)
        if version in known and epoch == known[version].epoch and record != known[version]:
            yield Finding(store.name, f"its version {version} is not that of the other replicas", REBUILD)
    for what in invariants.wrong_continuity(versions, head):
        yield Finding(store.name, what, "run any ingest: a replica that is behind is caught up")


def _check_blobs(
    stores: Sequence[Store], chain: Chain, report_progress: Callable[[str, int, int], None]
) -> Iterator[Finding]:
    """Every blob that a retained version needs lies on every replica, each byte as its name says."""
    needed: dict[str, BlobRef] = {}
    for record, manifest in chain:
        needed[record.manifest.name] = record.manifest
        needed.update(manifests.closure(manifest))
    done, total = count(1), len(needed) * len(stores)
    for store in stores:
        for ref in needed.values():
            report_progress(store.name, next(done), total)
            yield from _check_blob(store, ref)


def _check_blob(store: Store, ref: BlobRef) -> Iterator[Finding]:
    try:
        key = blob.key(ref)
        blob.check(store.local_path(key) or store.get(key), ref)
    except FileNotFoundError:
        yield Finding(store.name, f"blob {ref.name} is missing", REBUILD)
    except Corrupt:
        yield Finding(store.name, f"blob {ref.name} is damaged", REBUILD)
    except (IndexFault, OSError) as error:
        yield Finding(store.name, f"blob {ref.name} cannot be read: {error}", REBUILD)


def _check_documents(stores: Sequence[Store], head: Manifest) -> Iterator[Finding]:
    """Document state against the vectors that are actually there."""
    where = f"version {head.version}"
    try:
        states = list(StateView(head.state, stores, lambda _: None).scan())
        live = _live(stores, head)
    except (IndexFault, FileNotFoundError) as error:
        yield Finding(where, f"its documents cannot be checked: {error}", EMBED)
        return
    for what in (*invariants.wrong_counts(head, states), *invariants.wrong_documents(states, live)):
        yield Finding(where, what, EMBED)


def _live(stores: Sequence[Store], head: Manifest) -> dict[str, list[tuple[int, int]]]:
    """For each uri, (live rows, all rows) in each segment of the live space where it has live ones."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    space = head.spaces.get(head.live)
    for ref in space.segments if space else ():
        segment = Segment(ref, stores, lambda _: None)
        try:
            if len(segment.dead) != ref.dead_count:
                raise Corrupt(f"segment {ref.id} says {ref.dead_count} dead rows and has {len(segment.dead)}")
            for uri, first, rows in segment.documents():
                alive = rows - segment.dead.range_cardinality(first, first + rows)
                if alive:
                    found[uri].append((alive, rows))
        finally:
            segment.close()
    return found
