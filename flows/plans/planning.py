"""Before anything is fetched: open the index, say which sources are meant, list them, compare, take over the spool.

A source is worked on by one run at a time: its lock is taken first, and freed by the kernel when a run dies. Only an
urgent run that wants some paths of a source goes ahead beside another one. It takes nothing of that one's: not what it
keeps of the source, not what lies in the spool, and it calls nothing gone. Of a document that both want, the commit
keeps the one that lands first, and whoever comes second sees that.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from penstock.connectors.types import Source, SourceError, StopSource
from penstock.flows import model_wiring, wiring
from penstock.flows.answers.progress import Observer
from penstock.flows.config.home import Home
from penstock.flows.config.names import ADHOC
from penstock.flows.config.settings import Settings
from penstock.flows.plans import adoption, listing
from penstock.flows.plans.adoption import Adopted
from penstock.flows.plans.listing import Known
from penstock.flows.plans.plan import Rules, SourcePlan, defer_beyond
from penstock.flows.plans.targets import Target, nothing_there, resolve
from penstock.flows.runs.accounting import IngestRequest
from penstock.flows.runs.events import Listener, ReplicaLeftOut, nobody
from penstock.flows.sources.redactor import REDACTOR
from penstock.flows.sources.source_wiring import Sources
from penstock.flows.spools.spool import Shard, leftovers
from penstock.flows.spools.spool_mirror import Mirror
from penstock.index.care.salvage import LOST
from penstock.index.commits.commit import Writer
from penstock.index.types import FORMAT, DocState, Manifest, Membership, SourceState

POLL_SECONDS = 0.2


@dataclass(slots=True)
class Planned:
    """What a run is to do. `writer` is None for a dry run; `version` is the head that was compared with."""

    version: int
    identity: Mapping[str, str]
    writer: Writer | None
    targets: list[Target]
    sources: dict[str, Source] = field(default_factory=dict)
    plans: list[SourcePlan] = field(default_factory=list)
    adopted: list[Adopted] = field(default_factory=list)
    known: Mapping[str, SourceState] = field(default_factory=dict)
    """The index's sources before this run."""
    beside: frozenset[str] = frozenset()
    """Sources that another run works on as well, and whose it is to say how far they are."""
    mirror: Mirror | None = None
    messages: list[str] = field(default_factory=list)
    tokens_per_document: float = 0.0
    """The average of the whole index, 0 if nothing is in it; only a dry run asks."""

    @property
    def idle(self) -> bool:
        return not self.adopted and all(plan.idle for plan in self.plans)

    @property
    def documents(self) -> int:
        """How many documents are to be worked on."""
        return sum(len(plan.todo) + len(plan.adopted) for plan in self.plans)


class Planner:
    """Plans one run. What it opens and locks is let go when `stack` is closed."""

    def __init__(
        self,
        request: IngestRequest,
        settings: Settings,
        identity: Mapping[str, str],
        home: Home,
        observer: Observer,
        stack: ExitStack,
        sources: Sources,
        tell: Listener = nobody,
        urgent: bool = False,
    ) -> None:
        self._urgent = urgent
        self._request, self._settings, self._identity, self._home = request, settings, identity, home
        self._observer, self._stack, self._sources, self._tell = observer, stack, sources, tell
        self._locks = wiring.locks(settings, home)
        self._locked: set[str] = set()
        self._beside: set[str] = set()

    def plan(self) -> Planned:
        """List every target and compare. Raises what a source, the settings or the index refuse with.

        Of several sources, one that cannot be listed does not keep the others from their work.
        """
        planned, known = self._opened(self._identity)
        for target in planned.targets:
            self._observer.stage(f"listing {target.source.name}")
            planned.plans.append(self._listed(planned, target, known))
        sources = {**planned.known, **self._sources.configured()}.values()
        for plan in planned.plans:
            if plan.source == ADHOC:
                _gone_by_name(plan, known.scan(ADHOC), ADHOC not in planned.beside, sources)
        if planned.writer is not None:
            self._adopt(planned, known)
        self._overlaps(planned)
        self._orphans(planned)
        left = None if self._request.limit is None else max(0, self._request.limit - _taken_over(planned))
        defer_beyond(planned.plans, left)
        return planned

    def _listed(self, planned: Planned, target: Target, known: Known) -> SourcePlan:
        name = target.source.name
        if target.source.held:
            lost = sum(state.reason == LOST for state in known.holes(name))
            held = target.source.held
            return SourcePlan(source=name, complete=False, held=held, asked=self._asked(name), lost=lost)
        try:
            source = planned.sources[name] = self._sources.open(target)
            began = wiring.clock()
            plan = listing.plan(self._request, target, source, known, self._rules(name), self._observer)
            plan.began = began
            return plan
        except SourceError as error:
            if not _name_in(name, error):
                error.args = (f"{name}: {error}",)
            if target.source.type == "files" and not Path(target.source.binding).is_dir():
                error.args = (f"{error}; if it moved: `penstock sources rebind {name} NEW`",)
            # What only a person can mend is an error; what may pass by itself is work left for the next run.
            if len(planned.targets) == 1 and isinstance(error, StopSource) and error.after is None:
                raise
            return SourcePlan(source=name, complete=False, unlisted=str(error))

    def _asked(self, name: str) -> bool:
        """Whether this source, or something of it, was named; else it is one of all."""
        retry = self._request.retry
        return bool(self._request.targets or (retry and any(uri.startswith(f"{name}/") for uri in retry.uris)))

    def _rules(self, name: str) -> Rules:
        request = self._request
        return Rules(
            guard=wiring.deletion_guard(self._settings, request.confirm_deletions),
            parsers=wiring.parsers(self._settings),
            now=wiring.clock(),
            carried=self._sources.carried(name),
            since=request.since,
            until=request.until,
        )

    def _opened(self, identity: Mapping[str, str]) -> tuple[Planned, Known]:
        if self._request.dry_run:
            reader = wiring.open_reader_if_any(self._settings, self._home, self._observer.note)
            if reader is None:
                return Planned(0, identity, None, self._resolved(_nothing_yet())), Known.nothing()
            self._stack.callback(reader.close)
            model_wiring.check_identity(reader.manifest, identity)
            manifest = reader.manifest
            planned = Planned(reader.version, identity, None, self._resolved(manifest), known=manifest.sources)
            planned.tokens_per_document = tokens_per_document(manifest)
            return planned, Known(reader.states, reader.find_states, manifest.counts)
        writer = wiring.open_writer(self._settings, self._home, self._observer.note, self._left_out)
        self._stack.callback(writer.close)
        head, targets = self._locked_targets(writer)
        model_wiring.check_identity(head, identity)
        mirror = wiring.mirror(self._settings, self._home, head.lineage, self._observer.note)
        if mirror is not None:
            self._stack.callback(mirror.close)
        planned = Planned(head.version, identity, writer, targets, known=head.sources, mirror=mirror)
        planned.beside = frozenset(self._beside)
        view = writer.states()
        return planned, Known(view.scan, view.find, head.counts)

    def _left_out(self, replica: str, problem: str) -> None:
        self._tell(ReplicaLeftOut(replica, REDACTOR.clean(problem)))

    def _locked_targets(self, writer: Writer) -> tuple[Manifest, list[Target]]:
        """The targets, each with its source locked, and the head as it was after the last lock was taken."""
        while True:
            head = writer.head()
            targets = self._resolved(head)
            parts = {target.source.name: bool(target.under) for target in targets}
            names = [name for name, part in sorted(parts.items()) if not self._suffices(name, part)]
            if not names:
                return head, targets
            for name in names:
                self._lock(name, self._urgent and parts[name])

    def _suffices(self, name: str, part: bool) -> bool:
        """Whether we hold what it takes for the whole of this source, or for a `part` of it."""
        return name in self._locked or (part and name in self._beside)

    def _lock(self, name: str, beside: bool) -> None:
        """Wait until no other run works on this source, on any machine that shares the catalog.

        `beside`: or else, until no other run works beside that one.
        """
        told = False
        while not (self._take(f"source.{name}", self._locked, name) or (beside and self._goes_ahead(name))):
            if not told:
                self._observer.note(f"another run works on {name}; waiting for it")
                told = True
            wiring.sleep(POLL_SECONDS)
        if name in self._locked:
            self._beside.discard(name)

    def _goes_ahead(self, name: str) -> bool:
        if not self._take(f"urgent.{name}", self._beside, name):
            return False
        self._observer.note(f"another run works on {name}; this one goes ahead beside it")
        return True

    def _take(self, lock: str, held: set[str], name: str) -> bool:
        taken = self._locks.take(lock, wait=False)
        if taken is None:
            return False
        self._stack.callback(taken.release)
        held.add(name)
        return True

    def _resolved(self, head: Manifest) -> list[Target]:
        configured = self._sources.configured()
        found = resolve(self._request.targets, name=self._request.name, known=head.sources, configured=configured)
        targets = [
            replace(
                target,
                full_every=self._sources.full_every(target.source.name),
                described=self._sources.described(target.source.name),
            )
            for target in found
        ]
        if self._request.retry is not None and not self._request.targets:
            able = [target for target in targets if self._sources.can_open(target.source)]
            return able or targets
        return targets

    def _overlaps(self, planned: Planned) -> None:
        """Say so when a new source holds another: both will answer with the same files."""
        for target in planned.targets:
            for other in {**planned.known, **{each.source.name: each.source for each in planned.targets}}.values():
                mine, theirs = target.source, other
                if mine.name in planned.known or mine.name == theirs.name or {mine.type, theirs.type} != {"files"}:
                    continue
                if Path(theirs.binding).is_relative_to(mine.binding):
                    planned.messages.append(
                        f"{mine.name} holds the source {theirs.name} ({theirs.binding}): what is in it is indexed "
                        f"twice; `penstock sources remove {theirs.name}` if that is not meant"
                    )

    def _orphans(self, planned: Planned) -> None:
        """Sources that the configuration no longer names: served, and said."""
        for name in self._sources.orphans(planned.known):
            planned.messages.append(
                f"{name} is orphaned: no longer in the configuration, its documents are served until "
                f"`penstock sources remove {name}`"
            )

    def _adopt(self, planned: Planned, known: Known) -> None:
        """Take over what interrupted runs left in the spool, as far as this run still wants it.

        What is of a source that is held lies there until it goes on: then it is looked at with what is listed. What is
        of a source that another run works on is that one's.
        """
        by_name = {plan.source: plan for plan in planned.plans if not plan.held and plan.source not in planned.beside}
        types = {target.source.name: target.source.type for target in planned.targets}
        for shard in self._leftovers(planned, by_name):
            plan = by_name[shard.marker.source]
            if shard.marker.fingerprint != wiring.fingerprint(planned.identity, self._settings, types[plan.source]):
                shard.discard()
                continue
            use = adoption.use_of(shard, plan, self._sources.carried(plan.source), known.find)
            if use.worth:
                plan.adopted |= use.wanted
                plan.todo = [entry for entry in plan.todo if entry.item.uri not in use.wanted]
                planned.adopted.append(Adopted(shard, use.wanted))
            elif use.later and not adoption.stale(shard, wiring.clock()):
                shard.release()
            else:
                shard.discard()

    def _leftovers(self, planned: Planned, sources: Container[str]) -> Iterator[Shard]:
        """What runs on this machine left, then what runs on others did, of these sources; locked for us."""
        for shard in leftovers(self._home.spool):
            meant = shard.marker.source in sources
            if meant and (planned.mirror is None or planned.mirror.keep(shard)):
                yield shard
            elif not meant and adoption.stale(shard, wiring.clock()):
                shard.discard()
            else:  # of another source, or another machine works on it
                shard.release()
        if planned.mirror is not None:
            yield from planned.mirror.abandoned(self._home.spool, lambda marker: marker.source in sources)


def _gone_by_name(plan: SourcePlan, known: Iterator[DocState], believed: bool, sources: Iterable[SourceState]) -> None:
    """A lone file that is named, known and not there any more goes away: its name says that it is meant.

    Not `believed`: it stays, as what could not be listed. `sources`: all that are known, for what is said otherwise.
    """
    states = {state.uri: state for state in known}
    for gap in list(plan.gaps):
        path = Path("/") / gap.uri_prefix.removeprefix(f"{ADHOC}/")
        if os.path.lexists(path):
            continue
        if gap.uri_prefix not in states:
            raise nothing_there(path, sources)
        if believed:
            plan.gaps.remove(gap)
            plan.gone.append(states[gap.uri_prefix])


def _name_in(name: str, error: Exception) -> bool:
    """Whether the message says already which source it is about."""
    return name in str(error).split()


def _taken_over(planned: Planned) -> int:
    return sum(len(plan.adopted) for plan in planned.plans)


def tokens_per_document(head: Manifest) -> float:
    """From the manifest alone. Segments count dead rows too, so it goes by the average row."""
    space = head.spaces.get(head.live)
    rows = sum(segment.count for segment in space.segments) if space else 0
    documents, chunks = head.counts.get("documents", 0), head.counts.get("chunks", 0)
    if space is None or not rows or not documents:
        return 0.0
    return sum(segment.tokens for segment in space.segments) / rows * chunks / documents


def _nothing_yet() -> Manifest:
    """The manifest of an index that was never made."""
    return Manifest(FORMAT, "", 0, 0, "", "", 0.0, Membership((), 1))
