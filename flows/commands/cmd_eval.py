"""`eval`: how well the index answers queries that people have judged answers to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.answers.relevance import REACH, ndcg, recall
from penstock.flows.answers.render import plain
from penstock.flows.commands import cmd_search
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context
from penstock.flows.commands.judgements import Judgements, Matched, matched, read_judgements, read_queries
from penstock.flows.commands.questions import Question

if TYPE_CHECKING:
    from penstock.embed.types import Encoder
    from penstock.index.types import Hit

_PATIENCE = 2.0  # seconds without a word
_PER_DOCUMENT = 3  # chunks looked at first for each document that is wanted; more are asked for where they are too few


class Score(msgspec.Struct, frozen=True):
    """One query: how many documents are relevant, and how many of those are in the index."""

    id: str
    text: str
    ndcg: float
    recall: float
    relevant: int
    indexed: int


class Evaluation(msgspec.Struct, frozen=True):
    """What `eval` answers; the figures are means over `queries`."""

    ndcg: float
    ndcg_at: int
    recall: float
    recall_at: int
    queries: int
    without_relevant: int
    """Queries of the file for which nothing was judged relevant: left out."""
    without_text: int
    """Queries that were judged and are not in the file: left out."""
    documents: int
    judged: int
    judged_missing: int
    judged_shared: int
    id: str
    version: int
    per_query: list[Score]


def evaluate(arguments: argparse.Namespace, console: Console) -> int:
    """Print nDCG and recall."""
    asked, judgements = read_queries(arguments.queries), read_judgements(arguments.qrels)
    kept = _with_relevant(asked, judgements)
    ctx = context(arguments)
    ctx.required()
    console.sign("opening the index and the model …")
    ready = cmd_search._open(ctx, console)
    if ready is None:
        raise UsageError("nothing is in this index yet; `penstock ingest` first")
    reader, encoder = ready
    uris = [state.uri for state in reader.states() if state.chunks]
    judged = frozenset(document for query in kept for document in judgements[query.id])
    documents = matched(uris, judged, arguments.id)
    said = _ticker(console)
    scores = scored(kept, judgements, documents, (reader, encoder), arguments.k, arguments.exact, said)
    found = Evaluation(
        ndcg=_mean([score.ndcg for score in scores]),
        ndcg_at=arguments.k,
        recall=_mean([score.recall for score in scores]),
        recall_at=REACH,
        queries=len(kept),
        without_relevant=len(asked) - len(kept),
        without_text=len(judgements.keys() - {query.id for query in asked}),
        documents=len(uris),
        judged=len(judged),
        judged_missing=len(documents.missing),
        judged_shared=len(documents.shared),
        id=documents.rule,
        version=reader.version,
        per_query=scores if arguments.per_query else [],
    )
    console.answer(found, rendered(found))
    return COMPLETE


def scored(
    asked: Sequence[Question],
    judgements: Judgements,
    documents: Matched,
    ready: tuple[cmd_search.Searchable, Encoder],
    k: int,
    exact: bool,
    said: Callable[[int, int], None],
) -> list[Score]:
    """Each query with its figures, in the order asked. A document stands where its best chunk does."""
    reader, encoder = ready
    scores = []
    for start in range(0, len(asked), cmd_search.BATCH):
        batch = asked[start : start + cmd_search.BATCH]
        vectors = encoder.encode_queries([query.text for query in batch])
        wanted, many = max(k, REACH), _PER_DOCUMENT * max(k, REACH)
        rankings: dict[int, list[str]] = {}
        while open_ := [n for n in range(len(batch)) if n not in rankings]:
            hits = reader.search(vectors[open_], many, exact=exact)
            for n, found in zip(open_, hits, strict=True):
                ranking = _ranking(found, documents.ids)
                if len(ranking) >= wanted or len(found) < many:
                    rankings[n] = ranking
            many *= 4
        scores += [_score(query, rankings[n], judgements[query.id], documents, k) for n, query in enumerate(batch)]
        said(len(scores), len(asked))
    return scores


def rendered(found: Evaluation) -> str:
    """For people: the two figures, then what they are made of."""
    rows = [
        (f"nDCG@{found.ndcg_at}", f"{found.ndcg:.4f}"),
        (f"recall@{found.recall_at}", f"{found.recall:.4f}"),
        ("queries", f"{found.queries:,}"),
        ("documents", f"{found.documents:,} in version {found.version}; an id is a document's {found.id}"),
    ]
    if found.without_relevant:
        rows.append(("left out", f"{found.without_relevant:,} queries without a relevant document"))
    if found.without_text:
        rows.append(("left out", f"{found.without_text:,} judged queries that are not in the file of queries"))
    if found.judged_missing:
        many = f"{found.judged_missing:,} of {found.judged:,} judged documents are not in the index"
        rows.append(("missing", f"{many}; the relevant ones count as not found"))
    if found.judged_shared:
        rows.append(("shared", f"{found.judged_shared:,} judged ids that several documents have; try another --id"))
    lines = [f"{name:<12}{value}" for name, value in rows]
    if found.per_query:
        lines += ["", f"{'nDCG':>7}{'recall':>8}  {'found in index':<16}query"]
        lines += [_line(one) for one in found.per_query]
    return "\n".join(lines)


def _line(one: Score) -> str:
    there = f"{one.indexed} of {one.relevant}"
    return f"{one.ndcg:7.4f}{one.recall:8.4f}  {there:<16}[{plain(one.id)}] {plain(one.text)}"


def _with_relevant(asked: Sequence[Question], judgements: Judgements) -> list[Question]:
    """The queries that can be scored. Raises `UsageError` if there are none."""
    kept = [query for query in asked if any(grade > 0 for grade in judgements.get(query.id, {}).values())]
    if not kept:
        raise UsageError(
            f"no query has a document that was judged relevant: the queries are called {asked[0].id!r}, …, "
            f"the judgements are of {next(iter(judgements))!r}, …; are these two files of one collection?"
        )
    return kept


def _ranking(found: Sequence[Hit], ids: Mapping[str, str]) -> list[str]:
    """Different document ids, best first. A uri that is new since the states were read stands for itself."""
    return list(dict.fromkeys(ids.get(hit.uri, hit.uri) for hit in found))


def _score(query: Question, ranking: Sequence[str], gains: Mapping[str, int], documents: Matched, k: int) -> Score:
    relevant = {name for name, grade in gains.items() if grade > 0}
    return Score(
        id=query.id,
        text=query.text,
        ndcg=ndcg(ranking, gains, k),
        recall=recall(ranking, gains, REACH),
        relevant=len(relevant),
        indexed=len(relevant - documents.missing),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ticker(console: Console) -> Callable[[int, int], None]:
    """Says how far it is, at most once in so many seconds: the quick ones end without a word."""
    from penstock.flows import wiring

    last = [wiring.clock()]

    def said(done: int, of: int) -> None:
        now = wiring.clock()
        if done < of and now - last[0] >= _PATIENCE:
            last[0] = now
            console.say(f"{done:,} of {of:,} queries")

    return said
