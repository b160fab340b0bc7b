"""Fixed texts by whose vectors an encoder is known again, whatever device, dtype and libraries it runs on.

A set never changes once an index was made with it; a better one gets a new name beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import Encoder, EncoderUnavailable, TokenIds

if TYPE_CHECKING:
    from penstock.embed.tokenize import Tokenizer

AGREES = 0.999
"""Cosine from which two vectors of one text are the same. bf16 against fp32 is at 0.99996, another model far below."""
QUICK = 2
"""The first of a set are short: whoever only asks questions compares these."""


class Canary(NamedTuple):
    """A text with a name for people. `share` > 0: the text is repeated and cut to this share of the longest chunk."""

    name: str
    text: str
    share: float = 0.0


SETS: Mapping[str, tuple[Canary, ...]] = {
    "1": (
        Canary("a question", "How long may the gate stay open when the reservoir is low?"),
        Canary("one word", "water"),
        Canary("figures", "Total 1,204.50 EUR, due 2024-03-31, invoice 77-0142."),
        Canary("a sentence", "The penstock brings water to the turbine at exactly the pace that it can take."),
        Canary(
            "a paragraph",
            "Before each season the operator inspects the intake, measures the thickness of the steel at forty places, "
            "and closes the gate against full head while the bypass stays open. Nothing may be left to chance: a valve "
            "that sticks at half its way has once flooded the lower gallery, and it took eleven days to pump it dry.",
        ),
        Canary("German", "Die Schleuse öffnet erst, wenn der Wasserstand größer als zwölf Meter ist."),
        Canary("French", "À l'été, l'élève naïf déçoit ; où sont passés les cœurs brisés ?"),
        Canary("Russian", "Плотина построена в 1961 году и с тех пор ни разу не ремонтировалась."),
        Canary("Arabic", "يفتح البواب السد عندما يرتفع منسوب المياه."),
        Canary("Hindi", "बाँध का द्वार बारिश के बाद खोला जाता है।"),
        Canary("Chinese", "水库的闸门在暴雨之后打开。"),
        Canary("Japanese", "ダムのゲートは大雨のあとに開かれます。"),
        Canary("code", "def flow(head: float) -> float:\n    return (2 * 9.81 * head) ** 0.5  # m/s, no losses"),
        Canary(
            "a table",
            "| gate | mm | state |\n|---|---:|---|\n| A-1 | 2400 | open |\n| B-7 | 1850 | shut |\n→ ∑ = 4250 ✅",
        ),
        Canary("half of the longest", "Section after section the pipe was lifted, turned and welded by night. ", 0.5),
        Canary("the longest", "Each winter the ice above the intake grows and nobody hears it until it moves. ", 1.0),
    )
}
NEWEST = "1"


class Prepared(NamedTuple):
    """A set as an encoder takes it. `texts` are cut as `ids` are: both say the same."""

    name: str
    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]


def prepared(name: str, tokenizer: Tokenizer, longest: int) -> Prepared:
    """The set called `name`, for chunks of at most `longest` tokens, specials and prompt included."""
    texts = tuple(_cut(canary, tokenizer, longest) for canary in SETS[name])
    return Prepared(name, tuple(tokenizer.encode(text) for text in texts), texts)


def embedded(encoder: Encoder, ids: Sequence[TokenIds], texts: Sequence[str]) -> NDArray[np.float32]:
    """Their vectors, as documents', float32 (n, dim). Raises `EncoderUnavailable`, also for a text that is refused."""
    vectors = np.full((len(ids), encoder.dim), np.nan, dtype=np.float32)
    for batch in encoder.encode(ids, texts):
        vectors[batch.positions] = batch.vectors
        for refused in batch.refused:
            raise EncoderUnavailable(
                f"the encoder makes no vector of a plain text of {len(ids[refused.position])} tokens "
                f"({refused.reason}: {refused.detail}); it is not fit to embed documents"
            )
    return vectors


def cosines(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of each row of `one` with that of `other`; -1 where either is no vector."""
    left, right = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    return np.where(np.isfinite(found), found, -1.0)


def packed(vectors: NDArray[np.float32]) -> bytes:
    """As an index keeps them: float16, little-endian. Moves a cosine by less than 1e-5."""
    return vectors.astype("<f2").tobytes()


def unpacked(data: bytes, dim: int) -> NDArray[np.float32]:
    """float32 (n, dim) of what `packed` made. Raises ValueError if it is not that."""
    return np.frombuffer(data, dtype="<f2").reshape(-1, dim).astype(np.float32)


def _cut(canary: Canary, tokenizer: Tokenizer, longest: int) -> str:
    most = max(1, int(canary.share * longest)) if canary.share else longest
    # no tokenizer makes fewer than eight tokens of these sentences
    text = canary.text * (most // 8 + 1) if canary.share else canary.text
    ends = tokenizer.span(text).ends
    for room in range(min(len(ends), most - tokenizer.overhead), 0, -1):
        cut = text[: ends[room - 1]].rstrip() if room < len(ends) else text
        if len(tokenizer.encode(cut)) <= most:
            return cut
    return text[:1]
