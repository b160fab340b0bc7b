"""What people judged: queries and relevance judgements from files, and which document of the index an id means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from penstock.flows.answers.exits import UsageError
from penstock.flows.commands import questions
from penstock.flows.commands.questions import Question

Judgements = dict[str, dict[str, int]]
"""query id → document id → grade; above 0 is relevant."""

RULES: dict[str, Callable[[str], str]] = {
    "uri": lambda uri: uri,
    "path": lambda uri: uri.partition("/")[2],
    "name": lambda uri: PurePosixPath(uri).name,
    "stem": lambda uri: PurePosixPath(uri).stem,
}
"""How an id is made of a uri: all of it, all but the source's name, its last part, its last part without suffix."""
_HEADS = {"id", "_id", "qid", "query-id", "query_id", "topic"}


class Matched(msgspec.Struct, frozen=True):
    """Documents by the ids that judgements give them. `shared`: judged ids that several documents would have."""

    rule: str
    ids: Mapping[str, str]
    """uri → id, of all documents."""
    missing: frozenset[str]
    """Judged, and not in the index."""
    shared: frozenset[str]


def read_queries(path: Path) -> list[Question]:
    """The queries of a file: JSON lines (`_id` or `id`, `text`), or lines of id, tab, text. Raises `UsageError`."""
    lines = _lines(path)
    if not lines or lines[0][1].lstrip().startswith("{"):
        found = questions.read(path)
    else:
        found = [_query(path, number, line) for number, line in lines]
        if found[0].id.lower() in _HEADS:
            found = found[1:]
    if len({query.id for query in found}) < len(found):
        raise UsageError(f"{path}: the same query id stands there twice; ids tell the answers apart")
    return found


def read_judgements(path: Path) -> Judgements:
    """Judgements as BEIR has them (a header; query, document, grade, between tabs) or TREC (query, 0, document, grade).

    Raises `UsageError`, naming the line.
    """
    found: Judgements = {}
    lines = _lines(path)
    for first, (number, line) in enumerate(lines):
        words = line.split("\t") if "\t" in line else line.split()
        where = f"{path}, line {number}"
        if len(words) not in (3, 4):
            raise UsageError(f"{where}: {len(words)} columns; needed are query, document, grade, or TREC's four")
        query, document, grade = words[0].strip(), words[-2].strip(), _grade(words[-1])
        if grade is None:
            if not first:
                continue  # the header
            raise UsageError(f"{where}: the grade {words[-1].strip()!r} is no whole number")
        if found.setdefault(query, {}).setdefault(document, grade) != grade:
            raise UsageError(f"{where}: query {query} and document {document} were judged otherwise before")
    if not found:
        raise UsageError(f"{path}: holds no judgement; needed are lines of query, document, grade")
    return found


def matched(uris: Iterable[str], judged: frozenset[str], rule: str | None) -> Matched:
    """Which documents the judged ids mean: by `rule`, or by the one that finds most of them.

    Raises `UsageError` where none is found, showing both sides.
    """
    known = list(uris)
    tried = [_match(known, judged, name) for name in ([rule] if rule else RULES)]
    best = min(tried, key=lambda one: len(one.missing))
    if len(best.missing) == len(judged):
        theirs, ours = _examples(judged), _examples(known)
        how = f"taking a document's {rule}" if rule else f"whether as {', '.join(RULES)}"
        raise UsageError(
            f"no judged document is in the index, {how}: the judgements name {theirs}, the index has {ours}; "
            "give the files names that the judgements use, or say --id"
        )
    return best


def _match(uris: Iterable[str], judged: frozenset[str], rule: str) -> Matched:
    ids = {uri: RULES[rule](uri) for uri in uris}
    seen, twice = set[str](), set[str]()
    for name in ids.values():
        (twice if name in seen else seen).add(name)
    return Matched(rule, ids, judged - seen, judged & twice)


def _examples(names: Iterable[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(repr(name) for name in first) if first else "no documents"


def _query(path: Path, number: int, line: str) -> Question:
    name, tab, text = line.partition("\t")
    if not tab or not name.strip() or not text.strip():
        raise UsageError(f"{path}, line {number}: needed is an id, a tab and the query's text, or JSON lines")
    return Question(name.strip(), text.strip())


def _grade(word: str) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number from 1, line) of those that are not blank."""

    def numbered(text: str) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, line.rstrip("\r")

    try:
        return list(numbered(path.read_text("utf-8-sig")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text") from None
