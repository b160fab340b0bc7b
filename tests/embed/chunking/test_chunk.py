"""Chunks fit the model, lose nothing, and begin and end where the text allows it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embed import tokenize
from penstock.embed.chunking.chunk import chunk
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


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_a_prompt_is_counted(model: Model, text: str) -> None:
    """With a document prompt the ids hold it, and still fit."""
    prompted = Tokenizer(tokenize._backend(model), max_tokens=256, prompt="passage: ")
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
