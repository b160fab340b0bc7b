"""Facets: every row is found under what it carries, and under nothing else, whatever is in names and values."""

from __future__ import annotations

import msgspec
import pyroaring
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.index.blobs import table
from penstock.index.errors import Corrupt
from penstock.index.segments import facets
from penstock.index.segments.facets import Filter, Gathering, chosen
from penstock.index.segments.search import top_k
from penstock.index.types import Row
from tests.index.shelf import Shelf, admits, rows_of, unit

WORDS = st.text(st.sampled_from("ab:1=/é\n\0"), max_size=4)
ROWS = st.lists(
    st.builds(
        lambda uri, labels, metadata: Row("c", uri, "", 0, 0, 1, labels=labels, metadata=metadata),
        WORDS,
        st.lists(WORDS, max_size=3).map(tuple),
        st.dictionaries(WORDS, WORDS, max_size=3),
    ),
    max_size=30,
)
FILTERS = st.builds(
    Filter,
    metadata=st.dictionaries(WORDS, st.lists(WORDS, max_size=3).map(tuple), max_size=2),
    labels=st.none() | st.frozensets(WORDS, max_size=3),
    sources=st.none() | st.frozensets(WORDS, max_size=3),
)


@settings(max_examples=300)
@given(rows=ROWS, where=FILTERS)
def test_a_filter_chooses_what_it_says(rows, where):
    """AND over keys, OR over values, at least one label, one of the sources: no more, no fewer."""
    gathered = Gathering()
    for ordinal, row in enumerate(rows):
        gathered.add(ordinal, row)
    if where:
        assert list(chosen(where, gathered)) == [n for n, row in enumerate(rows) if admits(where, row)]
    else:
        assert all(admits(where, row) for row in rows)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def test_facets_are_stored_with_the_segment(shelf):
    """The blob is a keyed table of portable bitmaps, and answers like the rows themselves."""
    rows = [
        Row("1", "s/a", "", 0, 0, 1, labels=("x",), metadata={"year": "2001"}),
        Row("2", "s/a", "", 0, 0, 1, labels=("x", "y")),
        Row("3", "t/b", "", 0, 0, 1),
    ]
    segment = shelf.open(shelf.build(unit(3, 16), rows))
    stored = dict(table.Table(segment._facets_blob))
    assert list(stored) == ["label:x", "label:y", "metadata:4:year:2001", "source:s", "source:t"]
    assert list(pyroaring.BitMap.deserialize(msgspec.json.decode(stored["label:x"], type=bytes))) == [0, 1]
    assert dict(segment.facets.find(["label:y", "source:t", "label:nobody"])) == {
        "label:y": pyroaring.BitMap([1]),
        "source:t": pyroaring.BitMap([2]),
    }


def test_segments_of_format_1_are_narrowed_by_their_rows(shelf):
    """Without a facets blob the same answers come out of the rows."""
    ref = shelf.build(unit(60, 16), [*rows_of(30), *rows_of(30, source="t")], [1])
    old = msgspec.structs.replace(ref, facets=None)
    where = Filter(sources=frozenset({"t"}))
    found = [top_k([shelf.open(each)], unit(2, 16, 4), 40, where=where) for each in (ref, old)]
    assert found[0] == found[1] and len(found[0][0]) == 30


def test_who_has_no_labels_sees_what_has_none_of_them(shelf):
    """An empty set of labels finds nothing; unlabelled documents are not public to those who ask by label."""
    rows = [msgspec.structs.replace(row, labels=("a",) if n % 2 else ()) for n, row in enumerate(rows_of(20))]
    segment = shelf.open(shelf.build(unit(20, 16), rows))
    assert top_k([segment], unit(1, 16), 20, where=Filter(labels=frozenset())) == [[]]
    (found,) = top_k([segment], unit(1, 16), 20, where=Filter(labels=frozenset({"a"})))
    assert len(found) == 10 and all(match.row.labels == ("a",) for match in found)
    assert len(top_k([segment], unit(1, 16), 20, where=Filter())[0]) == 20


@pytest.mark.parametrize("record", [b'"!!"', b"7", b'"AAAA"', msgspec.json.encode(pyroaring.BitMap([20]).serialize())])
def test_facets_that_make_no_sense_are_corrupt(record):
    """No bitmap, or one of rows that are not there: nothing is shown to whom it may not be shown."""

    class Records:
        def find(self, names):
            return {"label:a": record}

    with pytest.raises(Corrupt):
        facets.FacetTable(Records(), 20).find(["label:a"])
