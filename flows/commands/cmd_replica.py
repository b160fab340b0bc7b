"""`replica list`, `add`, `remove`, `replace`, `quorum`: who has a copy of the index. Each change is a commit.

The index is changed first and home.json after it: the same command again finishes what a kill left between the two.
Where penstock.toml names the replicas, it is edited first, and the command makes the index agree with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import render, report
from penstock.flows.answers.absent import Absent
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened, same_place
from penstock.flows.config import layout as layouts
from penstock.flows.config import place
from penstock.flows.config.layout import Layout, majority
from penstock.flows.config.settings import SettingsError, check_quorum

if TYPE_CHECKING:
    from penstock.index.commits.commit import Writer
    from penstock.index.stores.store import Store
    from penstock.index.types import Member

from penstock.index.types import Membership

Change = Callable[["Writer", int], int]


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """Each replica that the index has or that is configured, and where it is."""
    from penstock.flows import wiring

    ctx = context(arguments)
    home, layout = ctx.required(), ctx.layout()
    members = _membership(ctx, console)
    ids = {member.id for member in members.replicas} if members else set(layout.replicas)
    looked = {one.id: one for one in report.replicas(wiring.stores(ctx.settings, home))} if ctx.begun() else {}
    rows = [
        {
            "id": name,
            "place": layout.replicas.get(name, ""),
            "member": name in ids,
            "configured": name in layout.replicas,
            "reachable": name in looked and looked[name].reachable,
            "version": looked[name].version if name in looked else 0,
            "problem": looked[name].problem if name in looked else "",
        }
        for name in sorted(ids | set(layout.replicas))
    ]
    quorum = members.write_quorum if members else layout.write_quorum
    console.answer({"replicas": rows, "write_quorum": quorum}, render.replicas(rows, quorum))
    return COMPLETE


def add(arguments: argparse.Namespace, console: Console) -> int:
    """Copy everything to a new replica, then commit that it is one."""
    from penstock.index.commits import membership

    ctx = context(arguments)
    layout = _layout(ctx)
    name = _id(arguments.id)
    where = _where(arguments, ctx, layout, name) or str(layout.home / "replicas" / name)
    if name in layout.replicas and layout.replicas[name] != where:
        raise UsageError(
            f"replica {name} is at {layout.replicas[name]}; `penstock replica replace {name} PLACE` moves it"
        )
    wanted = _with(layout, name, where)
    if not ctx.begun():
        return _before_the_first(wanted, name, arguments, ctx, console)
    members = _members(ctx, console, wanted, but=name)

    def change(writer: Writer, quorum: int) -> int:
        return membership.add(writer, name, _new(where), quorum)

    plan = _Plan(wanted, members, name, change=None if _has(members, name) else change, places=wanted.replicas)
    return _carry_out(plan, arguments, console, ctx)


def remove(arguments: argparse.Namespace, console: Console) -> int:
    """Commit that a replica is none any more. What lies there is left as it is."""
    from penstock.index.commits import membership

    ctx = context(arguments)
    layout = _layout(ctx)
    name = _id(arguments.id)
    members = _members(ctx, console, layout, but=name)
    if not _has(members, name) and (name not in layout.replicas or layout.said):
        raise UsageError(f"the index has no replica {name}; it has {_names(members)}")
    if layout.said and name in layout.replicas:
        raise UsageError(f"penstock.toml names replica {name}; take it out of [index] replicas, and run this again")
    rest = msgspec.structs.replace(layout, replicas={k: v for k, v in layout.replicas.items() if k != name})
    count = len({member.id for member in members.replicas} - {name})
    if not count:
        raise UsageError(f"replica {name} is the last one; add another first: penstock replica add ID PLACE")

    def change(writer: Writer, quorum: int) -> int:
        return membership.remove(writer, name, quorum)

    plan = _Plan(rest, members, name, change if _has(members, name) else None, layout.replicas, leaving=name)
    return _carry_out(plan, arguments, console, ctx)


def replace(arguments: argparse.Namespace, console: Console) -> int:
    """Copy everything to another place, then commit that the replica is there."""
    from penstock.index.commits import membership

    ctx = context(arguments)
    layout = _layout(ctx)
    name = _id(arguments.id)
    members = _members(ctx, console, layout, but=name)
    if not _has(members, name):
        raise UsageError(f"the index has no replica {name}; it has {_names(members)}")
    where = _where(arguments, ctx, layout, name) or layout.replicas.get(name)
    if where is None:
        raise UsageError(f"where shall replica {name} be? penstock replica replace {name} PLACE")

    def change(writer: Writer, quorum: int) -> int:
        return membership.replace(writer, name, _new(where))

    plan = _Plan(_with(layout, name, where), members, name, change, layout.replicas, leaving=name)
    return _carry_out(plan, arguments, console, ctx)


def quorum(arguments: argparse.Namespace, console: Console) -> int:
    """Commit how many replicas must have a commit before it is acknowledged."""
    from penstock.index.commits import membership

    ctx = context(arguments)
    layout = _layout(ctx)
    members = _members(ctx, console, layout, but="")
    plan = _Plan(layout, members, "", membership.set_quorum, layout.replicas)
    return _carry_out(plan, arguments, console, ctx)


class _Plan(msgspec.Struct, frozen=True):
    """What is to change. `members`: the index as it is; `places`: where they are; `wanted`: how it shall be.

    `change` None: the index is so already. `leaving`: a member that need not answer.
    """

    wanted: Layout
    members: Membership
    name: str
    change: Change | None
    places: dict[str, str]
    leaving: str = ""

    @property
    def count(self) -> int:
        """How many replicas there will be."""
        ids = {member.id for member in self.members.replicas}
        return len((ids | {self.name} if self.name in self.wanted.replicas else ids - {self.name}) - {""})


def _carry_out(plan: _Plan, arguments: argparse.Namespace, console: Console, ctx: Context) -> int:
    """Change the index as it is now, then let home.json say so."""
    from penstock.flows import wiring

    number = _quorum(arguments, ctx, plan.wanted, plan.members, plan.count)
    console.sign("opening the index …")
    stores = {
        member.id: _leaving(member, plan.places.get(member.id))
        if member.id == plan.leaving
        else _store(plan.places[member.id])
        for member in plan.members.replicas
    }
    going = frozenset({plan.leaving} - {""})
    with wiring.writer(
        plan.wanted.catalog, stores, plan.members.write_quorum, ctx.settings, ctx.required(), console.say, going
    ) as writer:
        console.sign("copying …")
        version = plan.change(writer, number) if plan.change else writer.head().version
    if not plan.wanted.said:
        layouts.remember(msgspec.structs.replace(plan.wanted, write_quorum=number))
    where = plan.wanted.replicas.get(plan.name, "")
    said = f"replica {plan.name} is {f'at {where}' if where else 'none any more'}; " if plan.name else ""
    console.answer(
        {"replica": plan.name, "place": where, "version": version, "write_quorum": number},
        f"{said}{number} of {plan.count} replicas must have a commit (version {version}).\n\n"
        f"Next: penstock status{same_place(arguments)}",
    )
    return COMPLETE


def _leaving(member: Member, where: str | None) -> Store:
    """The store of a replica that goes, if it is there and still is that replica; else nobody."""
    from penstock.index.commits import markers
    from penstock.index.errors import IndexFault

    if where is not None and (place.is_url(where) or Path(where).is_dir()):
        store = _store(where)
        try:
            found = markers.replica(store)
            if found is not None and (found.id, found.incarnation) == (member.id, member.incarnation):
                return store
        except (IndexFault, OSError):
            pass
    return Absent(f"replica {member.id}")


def _before_the_first(wanted: Layout, name: str, arguments: argparse.Namespace, ctx: Context, console: Console) -> int:
    """Nothing was ever written: only the configuration changes."""
    count = len(wanted.replicas)
    number = _quorum(arguments, ctx, wanted, None, count)
    if not wanted.said:
        layouts.remember(msgspec.structs.replace(wanted, write_quorum=number))
    console.answer(
        {"replica": name, "place": wanted.replicas[name], "version": 0, "write_quorum": number},
        f"replica {name} will be at {wanted.replicas[name]}; {number} of {count} must have a commit.\n\n"
        "Next: penstock ingest PATH",
    )
    return COMPLETE


def _layout(ctx: Context) -> Layout:
    ctx.required()
    return ctx.layout()


def _quorum(arguments: argparse.Namespace, ctx: Context, wanted: Layout, members: Membership | None, count: int) -> int:
    """The write quorum of `count` replicas: as penstock.toml says, else as asked, else as before and most of them."""
    asked: int | None = getattr(arguments, "write_quorum", None)
    fixed = ctx.settings.index.write_quorum
    before = members.write_quorum if members else 0
    kept = 0 if wanted.said else min(before, count)
    number = fixed or (None if wanted.said else asked) or max(majority(count), kept)
    if asked is not None and asked != number:
        raise UsageError(f"penstock.toml decides: write write_quorum = {asked} under [index], and run this again")
    try:
        check_quorum(number, count, "write_quorum")
    except SettingsError as wrong:
        raise UsageError(str(wrong)) from None
    return number


def _where(arguments: argparse.Namespace, ctx: Context, layout: Layout, name: str) -> str | None:
    """The place that is meant, absolute; None where it was left out and nothing is configured."""
    configured = layout.replicas.get(name)
    try:
        where = place.store(arguments.place, Path.cwd()) if arguments.place is not None else None
    except place.BadPlace as wrong:
        raise UsageError(f"PLACE: {wrong}") from None
    if layout.said and configured is None:
        raise UsageError(
            f"penstock.toml names the replicas; write {_line(ctx, layout, name, where)} under [index], "
            "and run this again"
        )
    if where is None:
        return configured
    if layout.said and where != configured:
        raise UsageError(
            f"penstock.toml says that replica {name} is at {configured}; change it there, and leave PLACE out"
        )
    for other, there in layout.replicas.items():
        if (other, there) != (name, where) and place.overlap(there, where):
            what = "is" if there == where else "lies in, or holds, the place of"
            raise UsageError(f"{where} {what} replica {other} already; give each replica its own place")
    return where


def _line(ctx: Context, layout: Layout, name: str, where: str | None) -> str:
    """What penstock.toml must say of its replicas, so that this is one of them."""
    if not isinstance(ctx.settings.index.replicas, int):
        return f"replica {name} into replicas"
    places = {**layout.replicas, name: where or "PLACE"}
    # A JSON string is a TOML string too, where nothing beyond ASCII is escaped.
    pairs = ", ".join(f"{key} = {json.dumps(there, ensure_ascii=False)}" for key, there in places.items())
    return f"replicas = {{ {pairs} }}"


def _members(ctx: Context, console: Console, layout: Layout, but: str) -> Membership:
    """The index's replicas. Raises `UsageError` unless the place of each is known, that of `but` aside."""
    found = _membership(ctx, console, but if len(layout.replicas) > 1 else "")
    if found is None:
        raise UsageError(f"{ctx.home} holds no version yet; `penstock ingest PATH` makes one")
    unknown = [member.id for member in found.replicas if member.id not in layout.replicas and member.id != but]
    if unknown:
        raise UsageError(
            f"the index has replica {unknown[0]}, the configuration does not say where; first: penstock replica add "
            f"{unknown[0]} PLACE, or penstock replica remove {unknown[0]}"
        )
    return found


def _membership(ctx: Context, console: Console, but: str = "") -> Membership | None:
    """The served version's; None before the first."""
    reader = opened(ctx, console, but)
    if reader is None:
        return None
    with reader:
        return reader.manifest.membership if reader.version else None


def _id(name: str) -> str:
    if not place.is_id(name):
        raise UsageError(f"{name!r}: {place.IDS}")
    return name


def _with(layout: Layout, name: str, where: str) -> Layout:
    return msgspec.structs.replace(layout, replicas={**layout.replicas, name: where})


def _has(members: Membership, name: str) -> bool:
    return any(member.id == name for member in members.replicas)


def _names(members: Membership) -> str:
    return ", ".join(sorted(member.id for member in members.replicas))


def _store(where: str) -> Store:
    from penstock.flows import wiring

    return wiring.store(where)


def _new(where: str) -> Store:
    from penstock.flows import wiring

    return wiring.made_store(where)
