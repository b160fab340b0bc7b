"""What a run is called and how it is tagged, so that people find it: by what it is for, source, window and priority."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from penstock.flows.answers.render import plain
from penstock.flows.runs.accounting import IngestRequest

OURS = "penstock"
_OWN = ("source:", "priority:")
MOST = 100
MOST_TAGS = 30


def title(request: IngestRequest, configured: Sequence[str] = ()) -> str:
    """`ingest handbook`, `backfill wiki since 2026-11-01`, `urgent handbook/a.md`, `retry wiki throttled`.

    `configured`: the names of the configured sources, which are meant where nothing is named.
    """
    verb = "urgent" if request.priority == "urgent" else "backfill" if request.priority == "backfill" else "ingest"
    words = [_word(target) for target in request.targets] or list(configured)
    if request.retry is not None:
        verb, again = "retry", request.retry
        words = [again.source] if again.source else words
        words += [again.reason] if again.reason else []
        words += [f"{len(again.uris)} documents"] if again.uris else []
    window = [
        f"{word} {_day(at)}" for word, at in (("since", request.since), ("until", request.until)) if at is not None
    ]
    dry = ["(dry run)"] if request.dry_run else []
    separator = " " if verb == "retry" else ", "
    return _short(" ".join([verb, separator.join(words) or "everything", *window, *dry]))


def asked(flow: str, given: Mapping[str, Any], configured: Sequence[str] = ()) -> str:
    """As `title`, from the parameters of one of the flows, before they are understood. `flow`: `penstock-backfill`."""
    verb = "retry" if given.get("retry") else flow.removeprefix("penstock-") or "ingest"
    if verb == "ingest" and given.get("priority") in ("urgent", "backfill"):
        verb = given["priority"]
    words = [_word(str(word)) for word in [*(given.get("sources") or []), *(given.get("paths") or [])]]
    words += [str(given["source"])] if given.get("source") else []
    if not words:
        words = list(configured)
    said = ", ".join(words)
    if verb == "retry":
        said = " ".join([*words, *([str(given["reason"])] if given.get("reason") else [])])
        said += f" {len(given['uris'])} documents" if given.get("uris") else ""
    window = [f"{key} {given[key]}" for key in ("since", "until") if given.get(key)]
    dry = ["(dry run)"] if given.get("dry_run") else []
    return _short(" ".join([verb, said.strip() or "everything", *window, *dry]))


def upkeep(flow: str, home: str) -> str:
    """`watch kb/.penstock`. `flow`: `penstock-watch`."""
    return _short(f"{flow.removeprefix('penstock-')} {_word(home)}")


def tags(sources: Iterable[str], priority: str, already: Iterable[str] = ()) -> list[str]:
    """The tags of a run over `sources`. Of those it has `already`, only what says otherwise is left out."""
    mine = [OURS, f"priority:{priority}", *(f"source:{name}" for name in dict.fromkeys(sources))][:MOST_TAGS]
    others = [tag for tag in already if tag not in mine and not tag.startswith(_OWN)]
    return sorted([*others, *mine])


def _word(target: str) -> str:
    """A name as it is; a path by its last two parts, which is enough to know it again.

    One that is short, or that leads upwards, as it was said: its last two parts would seem to be somewhere else.
    """
    path = PurePath(target)
    if len([part for part in path.parts if part != path.anchor]) < 3 or ".." in path.parts:
        return target
    return str(PurePath(*[part for part in path.parts if part != path.anchor][-2:])) or target


def _day(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d}" if at % 86_400 == 0 else f"{moment:%Y-%m-%d %H:%M}"


def _short(said: str) -> str:
    said = " ".join(plain(said).split())
    return said if len(said) <= MOST else f"{said[: MOST - 1]}…"
