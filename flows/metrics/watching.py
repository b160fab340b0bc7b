"""One look at a home after the other, each of bounded time: whoever does not answer is said, not waited for.

Reads only. Costs little: small files of the replicas, the newest manifest, a few searches; what must be read through
(document state) is read when the version has changed, and not more than a twentieth of the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from penstock.flows import wiring
from penstock.flows.answers import recovery
from penstock.flows.answers.absent import Absent
from penstock.flows.config import home as homes
from penstock.flows.config import periods
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.metrics import judging, parts
from penstock.flows.metrics.asking import Asking
from penstock.flows.metrics.documents import Counted, Documents
from penstock.flows.metrics.look import BudgetLook, FreshLook, Look, Problem, ReplicaLook
from penstock.flows.metrics.searching import Searching, Served
from penstock.flows.runs import freshness
from penstock.flows.sources.redactor import REDACTOR
from penstock.index.errors import WrongIndex
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.flows.config.layout import Layout
    from penstock.index.reading.reader import Reader
    from penstock.index.stores.store import Store

PATIENCE, TO_READ = 5.0, 15.0
"""Seconds for an answer, and for opening the index and searching it: a look ends within 30, whatever hangs."""
_T = TypeVar("_T")


class Watcher:
    """Looks at one home. `note` gets lines of what is wrong with a replica. Close it. Not thread-safe."""

    def __init__(self, settings: Settings, home: Home, note: Callable[[str], None]) -> None:
        self._settings, self._home, self._note = settings, home, note
        self._ask = Asking()
        self._documents = Documents(home.cache, wiring.clock)
        self._searching = Searching(self._opened)
        self._places: dict[str, str] = {}
        self._stores: dict[str, Store] = {}

    def look(self) -> Look:
        """Look now. Raises nothing that a replica, a store or the catalog does; `SettingsError` and `NoHome`."""
        began = wiring.clock()
        found = wiring.layout(self._settings, self._home)
        look = Look(str(self._home.path), began, spool_shards=_shards(self._home), freshness=self._freshness(began))
        look = self._looked(look, found, begun=found.touched())
        return msgspec.structs.replace(look, seconds=round(wiring.clock() - began, 3))

    def close(self) -> None:
        """Let go of the index."""
        self._searching.close()

    def _looked(self, look: Look, found: Layout, begun: bool) -> Look:
        places = found.replicas if begun else {}
        if places != self._places:
            self._searching.close()
            self._places = places
            self._stores = dict(wiring.stores(self._settings, self._home)) if begun else {}
        replicas, budgets, late = self._first()
        present: dict[str, Store] = {
            name: store if name in replicas and replicas[name].version >= 0 else Absent(store.name)
            for name, store in self._stores.items()
        }
        served, fault = self._served(replicas) if begun else (None, "")
        manifest = served.manifest if served else None
        rest = self._ask(self._rest(found, present, manifest, begun), PATIENCE)
        copies = _ok(rest.get("catalog"), tuple)
        healthy = copies[0] if copies else None
        late += ["catalog"] if begun and copies is None else []
        ready = self._recovery(present, manifest, look.at)
        looked = {name: parts.judged(one, name, copies, manifest) for name, one in self._all(replicas).items()}
        documents = _ok(rest.get("documents"), Counted) or self._documents.last
        look = msgspec.structs.replace(
            look,
            up=not fault,
            **parts.of_index(served, documents, fault),
            replicas=looked,
            under_replicated=parts.lacking(looked) if copies else None,
            stores=parts.stores(ready, rest, parts.passed(self._home), look.at),
            budgets=budgets,
            late=tuple(late),
        )
        problems = judging.problems(look, healthy, ready, self._limits(look.at), fault)
        return msgspec.structs.replace(look, problems=tuple(_clean(each) for each in problems))

    def _first(self) -> tuple[dict[str, ReplicaLook], dict[str, BudgetLook], list[str]]:
        """Each replica by itself, so that later nobody asks one that hangs; the budgets; who was late."""
        work: dict[str, Callable[[], Any]] = {
            f"replica {name}": partial(parts.replica, store) for name, store in self._stores.items()
        }
        work["budgets"] = partial(parts.budgets, self._settings, self._home)
        answers = self._ask(work, PATIENCE)
        late = [name for name in work if name not in answers]
        replicas = {}
        for name in self._stores:
            match answers.get(f"replica {name}"):
                case ReplicaLook() as one:
                    replicas[name] = one
                case Exception() as fault:
                    replicas[name] = ReplicaLook(False, -1, problem=str(fault))
        return replicas, _ok(answers.get("budgets"), dict) or {}, late

    def _all(self, replicas: Mapping[str, ReplicaLook]) -> dict[str, ReplicaLook]:
        late = ReplicaLook(False, -1, problem=f"no answer within {PATIENCE:g} s")
        return {name: replicas.get(name, late) for name in self._stores}

    def _served(self, replicas: Mapping[str, ReplicaLook]) -> tuple[Served | None, str]:
        """What can be searched, None if nothing was ever committed; and why nothing can be."""
        answer = self._ask({"index": self._searching.look}, TO_READ).get("index", TimeoutError())
        match answer:
            case WrongIndex() if len(replicas) == len(self._stores) and not any(r.version for r in replicas.values()):
                return None, ""
            case TimeoutError():
                return None, f"no answer within {TO_READ:g} s"
            case Exception():
                self._searching.close()
                return None, str(answer)
            case None:
                return None, "no replica is there" if any(not r.up for r in self._all(replicas).values()) else ""
            case _:
                return answer, ""

    def _opened(self) -> Reader | None:
        if wiring.layout(self._settings, self._home).gone():
            return None
        return wiring.open_reader(self._settings, self._home, self._note)

    def _rest(
        self, found: Layout, present: Mapping[str, Store], manifest: Manifest | None, begun: bool
    ) -> dict[str, Callable[[], Any]]:
        work: dict[str, Callable[[], Any]] = {
            f"snapshots {place.url}": partial(parts.snapshots, place) for place in self._settings.snapshots.places
        }
        if begun:
            work["catalog"] = partial(parts.copies, self._home, found, present, manifest)
        if manifest is not None and (reader := self._searching.reader) is not None:
            work["documents"] = partial(self._documents.count, reader)
        return work

    def _recovery(self, present: Mapping[str, Store], manifest: Manifest | None, now: float) -> recovery.Recovery:
        lineage = manifest.lineage if manifest else None
        return recovery.look(
            self._settings, self._home, present, lineage, now, os.environ, PATIENCE, lambda *what: self._ask(*what)
        )

    def _freshness(self, now: float) -> dict[str, FreshLook]:
        wanted = dict(freshness.objectives(self._settings))
        kept = freshness.read(self._home.path)
        found = {}
        for name in sorted({*wanted, *(name for name, one in kept.items() if one.as_of)}):
            known = kept.get(name, freshness.Kept(since=now))
            found[name] = FreshLook(max(0.0, now - (known.as_of or known.since)), wanted.get(name))
        for breach in freshness.breaches(self._settings, self._home.path, now):
            found[breach.source] = FreshLook(breach.age, breach.objective, True)
        return found

    def _limits(self, now: float) -> judging.Limits:
        alerts = self._settings.alerts
        try:
            made = (self._home.path / homes.MARK).stat().st_mtime
        except OSError:
            made = now
        return judging.Limits(
            ship_behind=periods.seconds(alerts.ship_behind),
            snapshot_age=periods.seconds(alerts.snapshot_age),
            drill_age=periods.seconds(alerts.drill_age),
            since=now - made,
        )


def _ok(answer: object, kind: type[_T]) -> _T | None:
    return answer if isinstance(answer, kind) else None


def _clean(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, said=REDACTOR.clean(problem.said))


def _shards(home: Home) -> int:
    return sum(1 for _ in home.spool.glob("*/shard.json")) if home.spool.is_dir() else 0
