"""`penstock eval` counts as trec_eval does, and says what it could not count."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.flows import cli
from penstock.flows.answers.exits import UsageError
from penstock.flows.answers.relevance import ndcg, recall
from penstock.flows.commands import cmd_eval, cmd_search
from penstock.flows.commands.judgements import matched, read_judgements, read_queries
from penstock.flows.commands.questions import Question
from penstock.index.types import DocState, Hit

GAINS = {"a": 3, "b": 2, "c": 0, "d": 1, "e": -1}


def test_ndcg_is_what_the_formula_gives_by_hand() -> None:
    """Linear gains over log2(rank + 1), divided by the best there can be."""
    ideal = 3 / 1 + 2 / math.log2(3) + 1 / 2
    assert ndcg(["a", "b", "d"], GAINS) == 1.0
    assert ndcg(["b", "x", "a"], GAINS) == pytest.approx((2 / 1 + 3 / 2) / ideal)
    assert ndcg(["b", "x", "a"], GAINS) == pytest.approx(0.7350, abs=5e-5)
    assert ndcg(["c", "e", "x"], GAINS) == 0.0
    assert ndcg(["x", "a"], GAINS, k=1) == 0.0
    assert ndcg(["b"], GAINS, k=1) == pytest.approx(2 / 3)
    assert ndcg(["a"], {"a": 0}) == 0.0


def test_recall_is_the_share_of_the_relevant_that_was_found() -> None:
    """Grades do not count, and what is not relevant neither."""
    assert recall(["a", "c", "x", "d"], GAINS) == pytest.approx(2 / 3)
    assert recall(["x", "a"], GAINS, k=1) == 0.0
    assert recall([], {}) == 0.0


@given(
    ranking=st.lists(st.sampled_from("abcdefgh"), unique=True),
    gains=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1, 3)),
)
def test_figures_lie_between_nothing_and_perfect(ranking: list[str], gains: dict[str, int]) -> None:
    """And the best ranking has 1."""
    assert 0 <= ndcg(ranking, gains) <= 1 + 1e-12
    assert 0 <= recall(ranking, gains) <= 1
    best = sorted(gains, key=lambda name: -gains[name])
    assert ndcg(best, gains) == pytest.approx(1.0 if any(gain > 0 for gain in gains.values()) else 0.0)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_queries_are_read_in_both_forms(tmp_path: Path) -> None:
    """JSON lines as BEIR has them; id, tab, text with a header or without."""
    expected = [Question("1", "what flows?"), Question("2", "why?")]
    lines = '{"_id": "1", "text": "what flows?", "metadata": {}}\n{"_id": "2", "text": "why?"}\n'
    assert read_queries(write(tmp_path / "a", lines)) == expected
    assert read_queries(write(tmp_path / "b", "1\twhat flows?\r\n\n2\twhy?")) == expected
    assert read_queries(write(tmp_path / "c", "\ufeffid\ttext\n1\twhat flows?\n2\twhy?\n")) == expected


def test_judgements_are_read_in_both_forms(tmp_path: Path) -> None:
    """BEIR's three columns with a header, TREC's four without."""
    expected = {"1": {"d1": 2, "d 2": 0}, "2": {"d1": 1}}
    beir = "query-id\tcorpus-id\tscore\n1\td1\t2\n1\td 2\t0\n2\td1\t1\n"
    assert read_judgements(write(tmp_path / "a", beir)) == expected
    assert read_judgements(write(tmp_path / "b", "1 0 d1 2\n2 Q0 d1 1\n")) == {"1": {"d1": 2}, "2": {"d1": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no judgement"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgement"),
        ("1\td\n", "line 1: 2 columns"),
        ("1\td\t1\n1\te\thigh\n", "line 2: the grade 'high'"),
        ("1\td\t1\n1\td\t2\n", "line 2: query 1 and document d were judged otherwise"),
    ],
)
def test_a_bad_judgement_is_named_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Before anything heavy is loaded."""
    with pytest.raises(UsageError, match=said):
        read_judgements(write(tmp_path / "q", text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 no tab\n", "line 1: needed is"),
        ("1\ta\n1\tb\n", "twice"),
        ("", "holds no question"),
        ("\t\n1\t \n", "line 2"),
    ],
)
def test_a_bad_query_is_named_by_its_line_as_well(tmp_path: Path, text: str, said: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UsageError, match=said):
        read_queries(write(tmp_path / "q", text))


URIS = ["abstracts/184.txt", "abstracts/sub/29.txt", "wiki/29.html"]


def test_ids_are_matched_in_the_way_that_finds_most(tmp_path: Path) -> None:
    """Whole uri, uri without source, name, stem; what is missing or shared is counted."""
    assert matched(URIS, frozenset({"abstracts/184.txt"}), None).rule == "uri"
    assert matched(URIS, frozenset({"sub/29.txt"}), None).rule == "path"
    assert matched(URIS, frozenset({"29.txt"}), None).rule == "name"
    found = matched(URIS, frozenset({"184", "29", "7"}), None)
    assert (found.rule, found.missing, found.shared) == ("stem", {"7"}, {"29"})
    with pytest.raises(UsageError, match=r"'7'.*'abstracts/184\.txt'.*--id"):
        matched(URIS, frozenset({"7"}), None)
    with pytest.raises(UsageError, match="taking a document's name"):
        matched(URIS, frozenset({"184"}), "name")
    with pytest.raises(UsageError, match="no documents"):
        matched([], frozenset({"184"}), None)


class Index:
    """Documents of many chunks each: `best` of query n is document n, then the others in order."""

    version = 7

    def __init__(self, documents: int, chunks: int) -> None:
        self._documents, self._chunks = documents, chunks
        self.asked: list[int] = []

    def states(self) -> list[DocState]:
        there = [DocState(uri=f"s/{n}.txt", source="s", status="indexed", chunks=1) for n in range(self._documents)]
        return [*there, DocState(uri="s/lost.txt", source="s", status="failed")]

    def search(self, vectors: np.ndarray[Any, Any], k: int, **options: Any) -> Sequence[Sequence[Hit]]:
        self.asked.append(k)
        return [self._hits(int(vector[0]))[:k] for vector in vectors]

    def _hits(self, query: int) -> list[Hit]:
        order = [(query + n) % self._documents for n in range(self._documents)]
        return [
            Hit(f"s/{document}.txt", 1.0, "text", None, 0, 4, f"{document}-{chunk}")
            for document in order
            for chunk in range(self._chunks)
        ]


class Encoder:
    def encode_queries(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.array([[float(text)] for text in texts], dtype=np.float32)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    """An index with a home, and files of queries and judgements beside it."""
    monkeypatch.chdir(tmp_path)
    made = Index(300, 20)
    monkeypatch.setattr(cmd_search, "_open", lambda ctx, console: (made, Encoder()))
    write(tmp_path / "q.tsv", "a\t0\nb\t5\nc\t9\nnone\t1\n")
    write(tmp_path / "qrels.tsv", "q\td\tg\na\t0\t1\nb\t6\t2\nb\tgone\t1\nc\t200\t1\nnone\t1\t0\nlost\t1\t1\n")
    assert cli.main(["init"]) == 0
    return made


def test_a_document_counts_once_where_its_best_chunk_stands(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    """Chunks are asked for until there are enough documents; what cannot be counted is said."""
    capsys.readouterr()
    assert cli.main(["eval", "q.tsv", "qrels.tsv", "--per-query", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    second = (2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert [one["ndcg"] for one in found["per_query"]] == pytest.approx([1.0, second, 0.0])
    assert [one["recall"] for one in found["per_query"]] == [1.0, 0.5, 0.0]
    assert [(one["relevant"], one["indexed"]) for one in found["per_query"]] == [(1, 1), (2, 1), (1, 1)]
    assert found["ndcg"] == pytest.approx((1 + second) / 3)
    assert found["recall"] == pytest.approx(0.5)
    assert {key: found[key] for key in ("queries", "without_relevant", "without_text", "documents")} == {
        "queries": 3, "without_relevant": 1, "without_text": 1, "documents": 300
    }  # fmt: skip
    assert (found["judged"], found["judged_missing"], found["judged_shared"]) == (4, 1, 0)
    assert (found["id"], found["version"], found["ndcg_at"], found["recall_at"]) == ("stem", 7, 10, 100)
    assert max(index.asked) >= 100 * 20 > min(index.asked)


def test_people_read_two_figures_and_what_they_are_made_of(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that was left out is kept quiet."""
    capsys.readouterr()
    assert cli.main(["eval", "q.tsv", "qrels.tsv", "-k", "1", "--per-query"]) == 0
    said = capsys.readouterr().out
    assert "nDCG@1      0.3333" in said and "recall@100  0.5000" in said
    assert "1 of 4 judged documents are not in the index" in said
    assert "1 queries without a relevant document" in said and "1 judged queries that are not" in said
    assert "1 of 2          [b] 5" in said


def test_no_query_in_common_is_an_error_that_shows_both_sides(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files of different collections."""
    write(tmp_path / "other.tsv", "x\t1\n")
    capsys.readouterr()
    assert cli.main(["eval", "other.tsv", "qrels.tsv"]) == 2
    assert "'x'" in capsys.readouterr().err


def test_who_waits_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not within two seconds, and no more often than that."""
    from penstock.flows import wiring

    now, said = [0.0], list[str]()
    monkeypatch.setattr(wiring, "clock", lambda: now[0])

    class Console:
        def say(self, message: str) -> None:
            said.append(message)

    tick = cmd_eval._ticker(Console())  # type: ignore[arg-type]
    for second, done in [(1.0, 64), (2.5, 128), (3.0, 192), (5.0, 1256), (9.0, 2000)]:
        now[0] = second
        tick(done, 2000)
    assert said == ["128 of 2,000 queries", "1,256 of 2,000 queries"]
