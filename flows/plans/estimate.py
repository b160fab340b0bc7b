"""What a plan would cost: documents, tokens and minutes. Pure, and only as good as what is known already.

What is known best counts: of a changed document its own tokens, else what a byte makes in documents of the same kind
in this source, else what it made in the files that this was measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.flows.plans.plan import SourcePlan, Todo

_SUFFIXES = {
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
    **dict.fromkeys(("json", "jsonl", "ndjson"), "json"),
    **dict.fromkeys(("md", "rst", "txt"), "text"),
    **{name: name for name in ("pdf", "docx", "pptx", "xlsx", "eml")},
}
BYTES_PER_TOKEN = {"text": 3.0, "csv": 1.0, "json": 4.0, "html": 19.0, "pdf": 108.0, "": 4.0}
"""Measured with the tokenizer of all-MiniLM-L6-v2 in windows that overlap by an eighth: 430 text files 2.4 to 3.2,
4 tables 0.9 (each row names its columns), 6 of JSON 4.4, 250 of HTML 18.7, 77 PDFs 107.9."""
_ASSUMED = {"docx": 20.0, "pptx": 200.0, "xlsx": 2.0, "eml": 6.0}
"""Not measured: the files at hand were samples of a library with hardly a word in them."""
TOKENS_PER_DOCUMENT = 500.0
"""Where neither a size nor any other document is known."""


@dataclass(slots=True)
class Known:
    """Indexed documents of one kind in one source. `sized`: those whose size in bytes is known."""

    documents: int = 0
    tokens: int = 0
    sized_tokens: int = 0
    sized_bytes: int = 0

    def add(self, size: int, tokens: int) -> None:
        self.documents += 1
        self.tokens += tokens
        if size >= 0:
            self.sized_tokens += tokens
            self.sized_bytes += size


@dataclass(frozen=True, slots=True)
class Speed:
    """What earlier runs measured, in tokens a second: the device (None: never measured), and what came from a source.

    `load_seconds`: until the model was there.
    """

    device: float | None = None
    load_seconds: float = 0.0
    sources: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """What a source allows. None: as fast as it goes.

    A document is taken to need one request: of a source whose listings bring the text along, that is too many.
    """

    per_second: float | None = None
    per_day: int | None = None

    def seconds(self, documents: int) -> float:
        """The shortest time for so many documents."""
        by_rate = documents / self.per_second if self.per_second else 0.0
        by_day = (documents - 1) // self.per_day * 86_400.0 if self.per_day and documents else 0.0
        return max(by_rate, by_day)


@dataclass(frozen=True, slots=True)
class Estimate:
    """`tokens` are those to embed, `reused_tokens` those whose vectors are there; `minutes` None: never measured.

    `new`, `changed` and `again` (failed or rejected before) are documents; together all that would be done.
    """

    new: int = 0
    changed: int = 0
    again: int = 0
    tokens: int = 0
    reused_tokens: int = 0
    minutes: float | None = 0.0


def kind_of(uri: str) -> str:
    """What a document probably is, by its suffix; "" where that says nothing."""
    return _SUFFIXES.get(uri[-6:].rpartition(".")[2].lower(), "")


def estimate(
    plans: Iterable[SourcePlan], speed: Speed, paces: Mapping[str, Pace], tokens_per_document: float = 0.0
) -> Estimate:
    """What these plans cost. `tokens_per_document`: the average of the whole index, 0 if not known.

    A document that moved (new, with the version token of one that is gone) costs nothing: its vectors are there.
    Equal texts and unchanged passages are not known before they are read, so the tokens are rather too many.
    """
    counts = {"new": 0, "changed": 0, "again": 0}
    tokens, reused, seconds = 0.0, 0.0, 0.0
    for plan in plans:
        moved = {state.version: state.tokens for state in plan.gone if state.chunks}
        before = tokens + reused
        for todo in plan.todo:
            counts[_what(todo)] += 1
            if todo.prior is None and todo.item.version in moved:
                reused += moved[todo.item.version]
            else:
                tokens += _tokens(todo, plan, tokens_per_document)
        rate = (speed.sources or {}).get(plan.source, 0.0)
        made = (tokens + reused - before) / rate if rate else 0.0
        seconds += max(made, paces.get(plan.source, Pace()).seconds(len(plan.todo)))
    minutes = _minutes(sum(counts.values()), round(tokens), seconds, speed)
    return Estimate(**counts, tokens=round(tokens), reused_tokens=round(reused), minutes=minutes)


def _what(todo: Todo) -> str:
    if todo.prior is None:
        return "new"
    return "changed" if todo.prior.status == "indexed" else "again"


def _minutes(documents: int, tokens: int, preparing: float, speed: Speed) -> float | None:
    """The stages run beside each other: the longer one counts."""
    if not documents:
        return 0.0
    if not speed.device:
        return None
    return max(speed.load_seconds + tokens / speed.device, preparing) / 60


def _tokens(todo: Todo, plan: SourcePlan, tokens_per_document: float) -> float:
    prior, size = todo.prior, todo.item.size
    if prior is not None and prior.tokens:
        return prior.tokens * size / prior.size if size >= 0 and prior.size > 0 else prior.tokens
    kind = kind_of(todo.item.uri)
    alike, every = plan.known.get(kind, Known()), _all(plan.known)
    if size < 0:
        known = alike if alike.documents else every
        return known.tokens / known.documents if known.documents else tokens_per_document or TOKENS_PER_DOCUMENT
    if not alike.sized_bytes and kind == "":
        alike = every
    if alike.sized_bytes:
        return size * alike.sized_tokens / alike.sized_bytes
    return size / (BYTES_PER_TOKEN.get(kind) or _ASSUMED[kind])


def _all(known: Mapping[str, Known]) -> Known:
    total = Known()
    for each in known.values():
        total.documents += each.documents
        total.tokens += each.tokens
        total.sized_tokens += each.sized_tokens
        total.sized_bytes += each.sized_bytes
    return total
