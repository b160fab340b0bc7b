"""What changed on a wiki since a moment: recent changes for pages that are edited, logs for what leaves no edit.

Edits and new pages stand in `recentchanges`, which forgets ($wgRCMaxAge, 90 days by default). A deleted page is gone
from there too, a moved one is there under its old title: both, and restored and imported pages, are taken from the
logs, which are kept. What was imported by a script, or rendered anew because a template changed, stands nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock.connectors.sources.mediawiki_api import Api, Params, entries

LOGS = ("delete", "move", "import")
_GOING = ("delete", "delete_redir", "delete_redir2")
_OF_PAGES = (*_GOING, "restore")
"""The other actions of that log hide revisions, and never the newest one."""
AT_LEAST = 86_400.0
"""Seconds for which every wiki keeps its recent changes."""


@dataclass(slots=True)
class Touched:
    """Pages to look at again: by id, and by title where the log gives no id."""

    ids: set[int] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)


def touched(api: Api, since: float, page_size: int, namespaces: frozenset[int]) -> Iterator[Touched]:
    """Pages touched since `since`, seconds of the wiki's clock, an answer's worth at a time."""
    recent: Params = {
        "action": "query",
        "list": "recentchanges",
        "rcdir": "newer",
        "rcstart": stamp(since),
        "rctype": "edit|new|log",
        "rcprop": "ids|title|timestamp|loginfo",
        "rclimit": page_size,
    }
    for answer in api.answers(recent):
        found = [each for each in entries(answer, "recentchanges") if each.get("ns") in namespaces]
        yield Touched(ids={number(each.get("pageid")) for each in found if each.get("logtype") not in LOGS} - {0})
    for kind in LOGS:
        log: Params = {
            "action": "query",
            "list": "logevents",
            "letype": kind,
            "ledir": "newer",
            "lestart": stamp(since),
            "leprop": "ids|title|type|timestamp|details",
            "lelimit": page_size,
        }
        for answer in api.answers(log):
            yield logged(entries(answer, "logevents"), namespaces)


def logged(events: list[dict[str, Any]], namespaces: frozenset[int]) -> Touched:
    """Pages of log events. `logpage` is the page that was deleted or moved; where the log has no number (a page that
    was restored or imported may have none yet), its title is as good. `pageid` is whatever has that title now, such
    as the redirect that a move left. An event that is hidden has none of them."""
    found = Touched()
    for event in events:
        params = event.get("params")
        params = params if isinstance(params, dict) else {}
        moved = event.get("type") == "move"
        named = params.get("target_title") if moved else event.get("title")
        if not {event.get("ns"), params.get("target_ns") if moved else None} & namespaces:
            continue
        if event.get("type") == "delete" and event.get("action") not in _OF_PAGES:
            continue
        if page := number(event.get("logpage")):
            found.ids.add(page)
        elif event.get("action") not in _GOING and title(named):
            found.titles.add(title(named))
    return found


def reaches(api: Api, since: float, now: float) -> bool:
    """Whether recent changes still hold all since `since`.

    They do when there is something older than that; or when it is so little ago that no wiki has forgotten it yet,
    and nothing older is there because nobody edits.
    """
    asked: Params = {
        "action": "query",
        "list": "recentchanges",
        "rcdir": "newer",
        "rclimit": 1,
        "rcprop": "timestamp",
        "rctype": "edit|new|log|categorize|external",
    }
    answer, _ = api.ask(asked)
    oldest = [seconds(each.get("timestamp")) for each in entries(answer, "recentchanges")]
    return now - since < AT_LEAST or any(each is not None and each <= since for each in oldest)


def number(value: Any) -> int:
    """An id, 0 if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def title(value: Any) -> str:
    return value if isinstance(value, str) and "|" not in value else ""


def stamp(at: float) -> str:
    """Seconds since 1970 as MediaWiki writes them; negative ones as 0."""
    return datetime.fromtimestamp(max(0.0, at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(written: Any) -> float | None:
    try:
        return datetime.strptime(str(written), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
