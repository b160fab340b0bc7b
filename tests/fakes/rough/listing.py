"""The styles in which APIs list, and the ways in which a listing lies.

| path | how it goes on |
|---|---|
| `/api/page/items` | `?page=2&per_page=100`, `total` in the body |
| `/api/offset/items` | `?offset=100&limit=100`, `total_count` in the body |
| `/api/cursor/items` | `?after=CURSOR&limit=100`, `paging.next.after` in the body |
| `/api/next/items` | `next`: the whole URL of the next page, in the body |
| `/api/link/items` | a bare array; the `Link` header has `rel="next"` |

With `updated_since=2026-01-31T12:00:00Z` only what changed since then is listed. With `full=1` each item carries its
body, as some APIs have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tests.fakes.rough.faults import chance
from tests.fakes.rough.world import Entry, World

STYLES = ("page", "offset", "cursor", "next", "link")
PAGE, LARGEST = 100, 1000


@dataclass(slots=True)
class Listing:
    """How the listing lies. Nothing here changes what can be fetched.

    `share` of the documents is shown, as if there were no others. `repeats`: pages that begin with the last item of
    the page before and have lost their own last one, as an unstable order does it. `skips`: pages that leave one
    out. `shifts`: page -> `insert` or `remove`: when it is first asked for, a document has just been added at the
    beginning, or the newest one been removed; only the counting styles shift. `skew`: seconds added to every date.
    """

    share: float = 1.0
    repeats: frozenset[int] = frozenset()
    skips: frozenset[int] = frozenset()
    shifts: dict[int, str] = field(default_factory=dict)
    skew: float = 0.0
    _shown: list[Entry] = field(default_factory=list)
    _of: tuple[int, float] | None = None

    def shown(self, world: World) -> list[Entry]:
        """What there is according to this listing, newest first."""
        if self._of != (world.revisions, self.share):
            every = world.listed()
            by_lot = sorted(every, key=lambda entry: chance(world.seed, "shown", entry.number))
            hidden = {entry.number for entry in by_lot[round(len(every) * self.share) :]}
            self._shown = [entry for entry in every if entry.number not in hidden]
            self._of = (world.revisions, self.share)
        return self._shown

    def page(
        self, world: World, style: str, query: Mapping[str, str], base: str
    ) -> tuple[Any, list[tuple[str, str]]] | None:
        """(the JSON body, extra headers); None if the query makes no sense."""
        size_key = "per_page" if style in ("page", "link") else "limit"
        try:
            size = min(LARGEST, max(1, int(query.get(size_key, PAGE))))
            after = int(query["after"]) if "after" in query else None
            number = int(query.get("page", 1))
            offset = int(query.get("offset", 0)) if style == "offset" else (number - 1) * size
        except ValueError:
            return None
        if style in ("cursor", "next"):
            return self._by_key(world, style, query, base, after, size)
        number = offset // size + 1
        self._shift(world, number)
        shown = _since(world, self.shown(world), query.get("updated_since", ""))
        rows = [_row(world, entry, query, base, self.skew) for entry in self._slice(shown, number, offset, size)]
        more = offset + size < len(shown)
        if style == "page":
            return {"items": rows, "page": number, "per_page": size, "total": len(shown)}, []
        if style == "offset":
            return {"items": rows, "offset": offset, "limit": size, "total_count": len(shown)}, []
        there = _url(base, style, {**query, "page": str(number + 1), "per_page": str(size)})
        first = _url(base, style, {**query, "page": "1", "per_page": str(size)})
        link = f'<{first}>; rel="first"' + (f', <{there}>; rel="next"' if more else "")
        return rows, [("link", link)]

    def _by_key(
        self, world: World, style: str, query: Mapping[str, str], base: str, after: int | None, size: int
    ) -> tuple[Any, list[tuple[str, str]]]:
        """Pages by key never shift: a cursor is the number of the last item."""
        shown = _since(world, self.shown(world), query.get("updated_since", ""))
        rest = shown if after is None else [entry for entry in shown if entry.number < after]
        here, number = rest[:size], (len(shown) - len(rest)) // size + 1
        if number in self.skips:
            here = here[:-1]
        rows = [_row(world, entry, query, base, self.skew) for entry in here]
        last = rest[:size][-1].number if len(rest) > size else None
        if style == "cursor":
            paging = {"next": {"after": str(last)}} if last is not None else {}
            return {"items": rows, "paging": paging}, []
        there = None if last is None else _url(base, style, {**query, "after": str(last), "limit": str(size)})
        return {"items": rows, "next": there}, []

    def _shift(self, world: World, number: int) -> None:
        match self.shifts.pop(number, None):
            case "insert":
                world.add()
            case "remove":
                world.remove(world.listed()[0].number)

    def _slice(self, shown: list[Entry], number: int, offset: int, size: int) -> list[Entry]:
        here = shown[offset : offset + size]
        if number in self.repeats and offset > 0 and here:
            here = [shown[offset - 1], *here[:-1]]
        return here[:-1] if number in self.skips else here


def _since(world: World, entries: list[Entry], said: str) -> list[Entry]:
    """Raises `ValueError` for what is no date."""
    if not said:
        return entries
    moment = datetime.fromisoformat(said).timestamp()
    return [entry for entry in entries if world.modified(entry) >= moment]


def _row(world: World, entry: Entry, query: Mapping[str, str], base: str, skew: float) -> dict[str, Any]:
    if query.get("full"):
        return detail(world, entry, base, skew)
    return {
        "id": entry.number,
        "title": world.title(entry),
        "updated_at": world.updated_at(entry, skew),
        "attachments": _attachments(world, entry, base),
    }


def detail(world: World, entry: Entry, base: str, skew: float = 0.0) -> dict[str, Any]:
    """A document as the API tells it."""
    return {
        "id": entry.number,
        "title": world.title(entry),
        "updated_at": world.updated_at(entry, skew),
        "revision": entry.revision,
        "kind": world.kind(entry),
        "author": {"name": f"author {entry.number % 5}"},
        "body": world.body(entry),
        "url": f"{base}/files/{world.file_name(entry)}",
        "readers": ["everyone"] if entry.number % 3 else ["staff"],
        "attachments": _attachments(world, entry, base),
    }


def _attachments(world: World, entry: Entry, base: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{entry.number}-{position}",
            "name": attachment.name,
            "size": len(attachment.body),
            "sha256": attachment.digest,
            "url": f"{base}/files/{attachment.name}",
        }
        for position, attachment in enumerate(world.attachments(entry))
    ]


def _url(base: str, style: str, query: Mapping[str, str]) -> str:
    return f"{base}/api/{style}/items?{urlencode(query)}"
