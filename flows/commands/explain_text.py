"""An explanation as a person reads it. Pure; what came from a document or a source is made harmless."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping

from penstock.flows.answers.render import MOST, WIDTH, count, duration, plain, size, table
from penstock.flows.commands.explain import Copy, Explanation

_CHUNKING = ("chunker", "chunk_tokens", "overlap_tokens")
_LONGEST = 400
"""Characters of one value that a person gets; --json has all."""


def explanation(said: Explanation, now: float) -> str:
    """What it is in one sentence, why it is not indexed, the facts, the chunks, the replicas, what to do."""
    lines = [_verdict(said), ""]
    rows = [*_why(said, now), *_origin(said), *_content(said), *_making(said), *_replicas(said)]
    lines.append(table([[name, value] for name, value in rows if value]))
    if said.chunks:
        lines += ["", table(_chunks(said))]
        if len(said.chunks) > MOST:
            lines.append(f"and {len(said.chunks) - MOST:,} more (--json has all)")
    if said.asked:
        passage = " ".join(plain(said.chunks[0].text).split()) if said.chunks else ""
        lines += ["", *textwrap.wrap(passage, WIDTH)]
    if said.next:
        lines += ["", f"Next: {plain(said.next)}"]
    return "\n".join(lines)


def _verdict(said: Explanation) -> str:
    uri = plain(said.uri)
    where = f"served by version {said.index_version}"
    if said.asked:
        return f"{said.asked}: a chunk of {uri}, {where}."
    if said.status == "indexed":
        return f"{uri}: indexed, {count(said.chunk_count, 'chunk')}, {where}."
    older = f"; an older version of it is {where}, in {count(said.chunk_count, 'chunk')}" if said.served else ""
    return f"{uri}: {said.status}, {plain(said.reason) or 'for no known reason'}{older or ', not searchable'}."


def _why(said: Explanation, now: float) -> list[tuple[str, str]]:
    if said.status == "indexed":
        return []
    again = "when it changes"
    if said.status == "failed":
        due = said.next_try - now
        again = f"{_when(said.next_try)} (in {duration(due)})" if due > 0 else "with the next run"
    again = "when its source goes on: it is held" if said.held else again
    tried = f"{count(said.attempts, 'attempt')}, next {again}" if said.attempts else f"next {again}"
    return [("why", _value(said.meaning)), ("detail", _value(said.detail)), ("tried", tried)]


def _origin(said: Explanation) -> list[tuple[str, str]]:
    remarks = [said.source_type, *(["orphaned"] if said.orphaned else [])]
    remarks += [f"held: {said.held}"] if said.held else []
    source = f"{_value(said.source)} ({_value(', '.join(filter(None, remarks)))}) {_value(said.binding)}"
    repeated = f", {count(said.retries, 'request')} repeated" if said.retries else ""
    fetched = f"{_when(said.fetched_at)}{repeated}" if said.fetched_at else ""
    return [
        ("source", source.rstrip()),
        ("version", _value(said.version)),
        ("changed", _when(said.modified) and f"{_when(said.modified)}, says the source"),
        ("fetched", fetched),
        ("last try" if said.status == "failed" else "processed", _when(said.changed_at)),
        ("run", _value(said.run)),
    ]


def _content(said: Explanation) -> list[tuple[str, str]]:
    figures = [f"sha256 {said.content}"] if said.content else []
    figures += [size(said.size)] if said.size >= 0 and said.status != "failed" else []
    text = [f"{said.characters:,} characters"] if said.characters else []
    text += [count(said.pages, "page")] if said.pages else []
    text += [count(said.tokens, "token")] if said.tokens else []
    return [
        ("title", _value(said.title)),
        ("content", _value(", ".join(figures))),
        ("kind", _value(said.kind)),
        ("text", ", ".join(text)),
        ("labels", _value(", ".join(said.labels))),
        ("metadata", _value(_pairs(said.metadata))),
    ]


def _making(said: Explanation) -> list[tuple[str, str]]:
    model = {key: value for key, value in said.identity.items() if key not in _CHUNKING}
    chunker = {key: said.identity[key] for key in _CHUNKING if key in said.identity}
    rows = [("parser", _value(said.parser)), ("chunker", _value(_pairs(chunker))), ("model", _value(_pairs(model, 16)))]
    made: dict[str, list[str]] = {}
    for segment, provenance in said.segments.items():
        made.setdefault(_pairs(provenance), []).append(segment)
    return rows + [("made with", f"{_value(how)} (segment {_value(', '.join(which))})") for how, which in made.items()]


def _replicas(said: Explanation) -> list[tuple[str, str]]:
    return [(f"replica {plain(one.id)}", f"{_state(one)}  {_value(one.path)}") for one in said.replicas]


def _state(one: Copy) -> str:
    if not one.reachable:
        return f"cannot be reached: {_value(one.problem)}"
    if one.publishes:
        return f"publishes version {one.version}"
    return f"lags: version {one.version}, lacks {size(one.lacks_bytes)}"


def _chunks(said: Explanation) -> list[list[str]]:
    rows = [["chunk", "page", "characters", "tokens", "segment", "ordinal", "heading"]]
    for one in said.chunks[:MOST]:
        page = "" if one.page is None else str(one.page)
        heading = _value(" › ".join(one.heading), 80)
        place = [f"{one.start:,}–{one.end:,}", str(one.tokens), plain(one.segment), str(one.ordinal), heading]
        rows.append([plain(one.id), page, *place])
    return rows


def _pairs(said: Mapping[str, str], most: int = _LONGEST) -> str:
    return ", ".join(
        f"{key} {(value[:12] + '…' if len(value) > most else value) or 'none'}" for key, value in said.items()
    )


def _value(text: str, most: int = _LONGEST) -> str:
    """Harmless, and not so long that the rest is lost."""
    text = plain(text)
    return text if len(text) <= most else f"{text[:most]} …"


def _when(seconds: float) -> str:
    """A time, UTC; "" if it is not known. A source may say any number."""
    if not seconds:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"
