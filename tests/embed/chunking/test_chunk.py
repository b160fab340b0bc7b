"""Chunks fit the model, lose nothing, and begin and end where the text allows it."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed import tokenize
from penstock.embed.chunking.boundaries import Boundaries
from penstock.embed.chunking.chunk import chunk
from penstock.embed.chunking.structure import structure
from penstock.embed.chunking.tokens import tokens
from penstock.embed.models import Model
from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import Chunk

SPACES = ["\n\n", "\n", " ", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\u00a0", "\u200b", "\x00"]
WORDS = st.sampled_from(
    [
        *SPACES,
        "wing",
        "Boundary",
        "layer.",
        "flow?",
        "naïve",
        "東京",
        "[SEP]",
        "e\u0301",
        "İ",
        "한국어",
        "😀",
        "don't",
        "x" * 99,
        "y" * 130,
        "-",
        "สวัสดี",
    ]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=120).map("".join), st.lists(WORDS, max_size=120).map(" ".join), st.text(max_size=300)
)


def covers(text: str, chunks: list[Chunk]) -> bool:
    """Whether every character that is not whitespace lies in a chunk."""
    inside = [False] * len(text)
    for piece in chunks:
        inside[piece.start : piece.end] = [True] * (piece.end - piece.start)
    return all(there or character.isspace() for there, character in zip(inside, text, strict=True))


def check(text: str, chunks: list[Chunk], tokenizer: Tokenizer, size: int) -> None:
    """All that is promised of every chunk."""
    assert covers(text, chunks)
    for piece in chunks:
        assert piece.text == text[piece.start : piece.end] == piece.text.strip() != ""
        assert piece.ids == tokenizer.encode(piece.text)
        assert len(piece.ids) <= size
    assert [p.start for p in chunks] == sorted(p.start for p in chunks)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, size=st.integers(16, 64), overlap=st.integers(0, 7), heads=st.lists(st.integers(0, 300)))
def test_nothing_is_lost_and_all_fits(
    tokenizer: Tokenizer, text: str, size: int, overlap: int, heads: list[int]
) -> None:
    """For any text: all of it is in chunks, and each chunk's ids are the model's own, within the size."""
    starts = sorted({head for head in heads if head < len(text)})
    headings = [(s, e, ("h",)) for s, e in pairwise([*starts, len(text)])]
    check(text, chunk(text, tokenizer=tokenizer, size=size, overlap=overlap, headings=headings), tokenizer, size)


@pytest.fixture(scope="module")
def prompted(model: Model) -> Tokenizer:
    return Tokenizer(tokenize._backend(model), max_tokens=256, prompt="passage: ")


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_a_prompt_is_counted(prompted: Tokenizer, text: str) -> None:
    """With a document prompt the ids hold it, and still fit."""
    check(text, chunk(text, tokenizer=prompted, size=24, overlap=4), prompted, 24)


@pytest.mark.parametrize("text", ["", " \n\t ", "\u00a0\u2003"])
def test_whitespace_alone_makes_no_chunk(tokenizer: Tokenizer, text: str) -> None:
    """An empty document has nothing to embed."""
    assert chunk(text, tokenizer=tokenizer) == []


def test_a_short_document_is_one_chunk_without_surrounding_whitespace(tokenizer: Tokenizer) -> None:
    """Offsets count characters of the document."""
    (only,) = chunk("\n  The wing.  \n", tokenizer=tokenizer)
    assert (only.start, only.end, only.text) == (3, 12, "The wing.")


def test_a_long_word_is_cut_by_characters_so_that_the_model_sees_it(tokenizer: Tokenizer) -> None:
    """WordPiece would make one unknown token of ten thousand letters."""
    unknown = tokenizer.encode("z" * 101)[1]
    text = "before " + "supercalifragilistic" * 500 + " after"
    chunks = chunk(text, tokenizer=tokenizer)
    check(text, chunks, tokenizer, 256)
    assert not any(unknown in piece.ids for piece in chunks)


def test_a_long_word_whose_letters_decompose_is_seen_too(tokenizer: Tokenizer) -> None:
    """Hangul syllables count two or three each towards the tokenizer's limit."""
    unknown = tokenizer.encode("z" * 101)[1]
    assert not any(unknown in piece.ids for piece in chunk("한" * 300, tokenizer=tokenizer))


def test_cuts_fall_at_paragraphs_before_sentences_before_words(tokenizer: Tokenizer) -> None:
    """The best place near the end of a full chunk is taken."""
    sentence = "The flow separates from the wing at the trailing edge. "
    first, second = chunk(sentence * 3 + "\n\n" + sentence * 3, tokenizer=tokenizer, size=60, overlap=0)
    assert first.text == (sentence * 3).strip()
    assert second.text == (sentence * 3).strip()
    assert all(p.text.endswith(".") for p in chunk(sentence * 30, tokenizer=tokenizer, size=60, overlap=0))
    for piece in chunk("hydrodynamically " * 200, tokenizer=tokenizer, size=60, overlap=0):
        assert set(piece.text.split()) == {"hydrodynamically"}


def test_a_heading_starts_a_chunk_unless_the_one_before_would_be_tiny(tokenizer: Tokenizer) -> None:
    """Sections are not mixed, but a title alone is no chunk."""
    body = "The flow separates from the wing. " * 8
    text = f"Title\n\n{body}\n\nMethods\n\n{body}"
    methods = text.index("Methods")
    headings = [(0, methods, ("Title",)), (methods, len(text), ("Title", "Methods"))]
    first, second = chunk(text, tokenizer=tokenizer, headings=headings)
    assert (first.start, first.heading) == (0, ("Title",))
    assert (second.start, second.heading) == (methods, ("Title", "Methods"))
    tiny = text.index("The flow")
    (whole,) = chunk(text[:methods], tokenizer=tokenizer, headings=[(0, tiny, ("Title",)), (tiny, methods, ("x",))])
    assert whole.heading == ("Title",)


ROW = "| the flow | {} | separates | from the wing |"


def test_a_table_that_fits_is_not_cut(tokenizer: Tokenizer) -> None:
    """Nor is a row, where the table is larger than a chunk; no overlap begins within one."""
    prose = "The flow separates from the wing at the trailing edge. " * 9
    table = "\n".join(ROW.format(n) for n in range(8))
    text = f"{prose}\n{table}\n\n{prose}"
    chunks = chunk(text, tokenizer=tokenizer, size=160, overlap=16)
    assert sum(table in piece.text for piece in chunks) == 1
    large = "\n".join(ROW.format(n) for n in range(80))
    pieces = chunk(f"{prose}\n\n{large}\n\n{prose}", tokenizer=tokenizer, size=160, overlap=16)
    rows = {line for piece in pieces for line in piece.text.split("\n") if "|" in line}
    assert rows == {ROW.format(n) for n in range(80)}


def test_a_table_is_whole_even_where_an_overlap_would_leave_it_no_room(tokenizer: Tokenizer) -> None:
    """The overlap is left out instead."""
    prose = "The flow separates from the wing at the trailing edge. " * 12
    table = "\n".join(ROW.format(n) for n in range(12))
    assert 130 < len(tokenizer.encode(table)) < 160
    chunks = chunk(f"{prose}\n{table}\n\n{prose}", tokenizer=tokenizer, size=160, overlap=60)
    assert sum(table in piece.text for piece in chunks) >= 1


def test_code_is_cut_between_functions_else_at_blank_lines_else_between_lines(tokenizer: Tokenizer) -> None:
    """Never inside a line that fits."""
    function = "def wing_{}(flow, plate):\n    edge = flow(plate) + 1;\n    return [edge, plate, flow]\n"
    code = "\n".join(function.format(n) for n in range(12))
    for piece in chunk(f"```\n{code}```\n", tokenizer=tokenizer, size=100, overlap=0)[1:]:
        assert piece.text.startswith("def wing_")
    body = "def f():\n" + "".join(f"    edge_{n} = flow(plate, {n}) + wing[{n}]\n" for n in range(40))
    for piece in chunk(body, tokenizer=tokenizer, size=100, overlap=20):
        assert set(piece.text.split("\n")) <= {line.strip() for line in body.split("\n")} | set(body.split("\n"))


def test_items_of_a_list_are_kept_together(tokenizer: Tokenizer) -> None:
    """An item is a better place than the sentences within."""
    item = "- The flow separates. It separates from the wing. At the trailing edge it does.\n"
    for piece in chunk(item * 30, tokenizer=tokenizer, size=100, overlap=0):
        assert piece.text.startswith("- The") and piece.text.endswith("it does.")


def test_chinese_and_japanese_are_cut_at_their_own_stops(tokenizer: Tokenizer) -> None:
    """No space is needed there, and the ids are sliced all the same."""
    pieces = chunk("水の流れは翼の後縁で剥離する。" * 40, tokenizer=tokenizer, size=60, overlap=0)
    assert all(piece.text.endswith("。") for piece in pieces)


def test_markdown_headings_begin_chunks_where_the_parser_gave_none(tokenizer: Tokenizer) -> None:
    """Signs in the plain text will do."""
    body = "The flow separates from the wing. " * 12
    chunks = chunk(f"## One\n{body}\n## Two\n{body}", tokenizer=tokenizer)
    assert [piece.text[:6] for piece in chunks] == ["## One", "## Two"]


PARTS = [
    *("# A\n", "\n", "\n\n", "- item one.\n", "| a | b |\n", "c\td\n", "```\n", "    x = 1;\n", "Flow. "),
    *("word " * 9, "| " + "cell | " * 30 + "\n", "q" * 130, "水。"),
]


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=80).map("".join),
    size=st.integers(16, 60),
    overlap=st.integers(0, 7),
)
def test_whatever_the_structure_nothing_is_lost(tokenizer: Tokenizer, parts: str, size: int, overlap: int) -> None:
    """Tables, code and long words in any order keep the promises."""
    check(parts, chunk(parts, tokenizer=tokenizer, size=size, overlap=overlap), tokenizer, size)


LONG = "The boundary layer on a flat plate grows with the square root of the distance from its edge. " * 11 + "\n\n"


def test_two_million_tokens_are_cut(tokenizer: Tokenizer) -> None:
    """A huge document is a document."""
    chunks = chunk(LONG * 10_000, tokenizer=tokenizer, overlap=0)
    assert len(chunks) == 10_000
    assert {piece.text for piece in chunks} == {LONG.strip()}
    assert sum(len(piece.ids) for piece in chunks) > 2_000_000


def test_what_is_needed_beside_the_chunks_is_a_few_arrays(tokenizer: Tokenizer) -> None:
    """No Python object for each token is held: those would take hundreds of bytes."""
    text = LONG * 1000
    tracemalloc.start()
    found = tokens(text, tokenizer)
    boundaries = Boundaries(found, structure(text, []), 254, [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert boundaries.cut(0, 0, 254, len(found.ids))[0] > 0
    assert peak < 90 * len(found.ids)


def test_overlap_repeats_the_end_of_the_chunk_before_from_a_sentence_on(tokenizer: Tokenizer) -> None:
    """At most `overlap` tokens are repeated, and they begin a sentence where one begins."""
    text = " ".join(f"Sentence {n} is about the wing." for n in range(60))
    chunks = chunk(text, tokenizer=tokenizer, size=64, overlap=16)
    for before, after in pairwise(chunks):
        assert after.start < before.end < after.end
        assert after.text.startswith("Sentence")
        assert len(tokenizer.encode(text[after.start : before.end])) - 2 <= 16


def test_a_chunk_has_the_page_on_which_it_starts(tokenizer: Tokenizer) -> None:
    """Pages are those of the parser; text on no page has none."""
    text = "alpha beta " * 100 + "\n\n" + "gamma delta " * 100
    turn = text.index("gamma")
    pages = [(0, turn, 1), (turn, len(text), 2)]
    chunks = chunk(text, tokenizer=tokenizer, size=64, overlap=8, pages=pages)
    assert all(piece.page == (1 if piece.start < turn else 2) for piece in chunks)
    assert {piece.page for piece in chunks} == {1, 2}
    assert chunk("x", tokenizer=tokenizer)[0].page is None


def test_a_huge_document_is_cut_piece_by_piece_without_a_seam(tokenizer: Tokenizer) -> None:
    """Beyond the piece that is tokenised at once, the promises hold; blobs and runs of nothing included."""
    prose = "The boundary layer grows with distance; see Fig. 3. " * 3000
    text = prose + "\x00" * 40_000 + " " * 70_000 + prose + "\n\n" + "q" * 2000
    check(text, chunk(text, tokenizer=tokenizer), tokenizer, 256)


@pytest.mark.parametrize(("size", "overlap"), [(257, 0), (9, 0), (256, 129), (256, -1)])
def test_a_size_or_overlap_that_cannot_work_raises(tokenizer: Tokenizer, size: int, overlap: int) -> None:
    """The error says what this model takes."""
    with pytest.raises(ValueError, match="tokens: "):
        chunk("x", tokenizer=tokenizer, size=size, overlap=overlap)
