"""Is a faster way of computing a model still that model? Compared with sentence-transformers, and with itself.

The texts are fixed: several scripts, then words from all over the model's own vocabulary, cut to lengths where
mistakes hide, which are the ends (specials alone, the longest, one less) and the edges of a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.tokenize import Tokenizer
from penstock.embed.types import TokenIds

LOWERED, EXACT = 0.9995, 0.99999
"""The smallest cosine to fp32 that is accepted of a lower precision, and of fp32 itself."""

CUT = "sentence-transformers cuts texts at"
"""How the reason begins where ids differ in nothing else; it says what to do."""

Candidate = Callable[[Sequence[TokenIds]], NDArray[np.float32]]
"""Token ids in, vectors float32 (len, dim) of unit norm out, in the same order."""

_TOKENS, _LONGEST = 4096, 2048
_SHORT = (15, 16, 17)
_STRIDE = 61
SCRIPTS = (
    "The gate admits water to the turbine at exactly the pace that it can take (p < 0.05), doesn't it? ",
    "Naïve façades, Zürich’s œuvre; “¿cuánto cuesta?” £5 – №12. ",
    "Затвор пропускает воду к турбине. Η πύλη αφήνει το νερό να περάσει. ",
    "تسمح البوابة بمرور الماء. השער מכניס מים אל הטורבינה. ",
    "द्वार टरबाइन को पानी देता है। ประตูน้ำปล่อยน้ำเข้ากังหัน ",
    "水門按照渦輪機的節奏放水。ゲートは水を通します。수문은 터빈에 물을 보낸다. ",
    "def gate(flow: float) -> float:\n\treturn max(0.0, flow)  # x²+y² ≠ z² 🚰🌊 e\u0301 ﬁ\u200b ",
)
"""Short texts of all kinds; the first is plain ASCII."""


class Parity(msgspec.Struct, frozen=True):
    """How far a candidate is from the reference: the smallest cosine, and the length in tokens where it was found."""

    min_cosine: float
    worst: int
    longest: int
    """Tokens of the longest text compared: less than the model takes where that is very long."""
    why_not: str | None = None
    """One line for the log: None if the candidate may be used."""


def probe(
    candidate: Candidate, reference: Any, tokenizer: Tokenizer, max_tokens: int, *, least: float = LOWERED
) -> Parity:
    """Compare a candidate with `SentenceTransformer.encode` of the same texts, 1 token to `max_tokens`.

    `reference`: a `SentenceTransformer` in fp32 with the candidate's `truncate_dim`; its token ids are compared with
    the tokenizer's as well. `least`: the smallest cosine that passes. At most about 4,000 tokens and no text beyond
    2,048 are embedded, twice. A candidate that raises has not passed.
    """
    said = texts(reference, tokenizer, max_tokens)
    ids = [tokenizer.encode(text) for text in said]
    lengths = [len(sequence) for sequence in ids]
    if differ := other_ids(reference, tokenizer, said):
        return Parity(0.0, 0, max(lengths), differ)
    # one by one: in a padded batch the reference itself depends on its neighbours
    expected = reference.encode(
        said, prompt=tokenizer.prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False
    )
    try:
        vectors = candidate(ids)
    except Exception as error:  # whatever a kernel raises that does not work here
        reason = (str(error).strip().splitlines() or [""])[0]
        return Parity(0.0, 0, max(lengths), f"it failed: {type(error).__name__}: {reason}")
    if vectors.shape != expected.shape:
        return Parity(0.0, 0, max(lengths), f"it made {vectors.shape} of what should be {expected.shape}")
    cosines = np.nan_to_num((vectors.astype(np.float64) * expected).sum(axis=1), nan=0.0, posinf=0.0, neginf=0.0)
    worst = int(cosines.argmin())
    why_not = None
    if not (off := float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())) < 1e-3:
        why_not = f"its vectors are not of unit length (off by {off:.1g})"
    if cosines[worst] < least:
        why_not = f"cosine {cosines[worst]:.6f} to sentence-transformers in fp32 at {lengths[worst]} tokens"
    return Parity(float(cosines[worst]), lengths[worst], max(lengths), why_not)


def invariant(candidate: Candidate, tokenizer: Tokenizer, max_tokens: int) -> str | None:
    """None if a vector depends on its ids alone, to the last bit; else where it did not, one line.

    The same sequences are embedded together, three times over in another order (other neighbours, other offsets, a
    larger batch), and alone.
    """
    material = "".join(SCRIPTS)
    wanted = [n for n in (3, 9, 16, 17, 33, 64) if n <= max_tokens] or [max_tokens]
    ids = [tokenizer.encode(text) for k, n in enumerate(wanted) if (text := _cut(material, tokenizer, n, k * 5))]
    count = len(ids)
    order = [k % count for k in range(count, 0, -1)] + list(range(count)) * 2
    try:
        together = candidate(ids)
        again = candidate([ids[k] for k in order])
        alone = {k: candidate([ids[k]])[0] for k in (count // 2, count - 1)}
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        return f"it failed: {type(error).__name__}: {reason}"
    for company, seen in [("in other company", list(zip(order, again, strict=True))), ("alone", list(alone.items()))]:
        for k, vector in seen:
            if not np.array_equal(vector, together[k]):
                off = float(np.abs(vector - together[k]).max())
                return f"a sequence of {len(ids[k])} tokens has other bits {company} (off by {off:.1g})"
    return None


def texts(reference: Any, tokenizer: Tokenizer, max_tokens: int) -> list[str]:
    """What is compared: long ones with short ones between them, and one of them twice."""
    material = "".join(SCRIPTS) + _words(reference)
    material = material * (1 + 2 * min(max_tokens, _LONGEST) // max(len(tokenizer.span(material).ids), 1))
    longest = min(max_tokens, _LONGEST)
    lengths = sorted({n for n in (longest, longest - 1, longest // 4) if n > max(_SHORT)}, reverse=True)
    if 2 * longest > _TOKENS - 256:
        del lengths[1:2]
    least = len(tokenizer.encode(""))
    long = [text for k, n in enumerate(lengths) if (text := _cut(material, tokenizer, n, k * _STRIDE))]
    short = [_cut(material, tokenizer, n, k * _STRIDE) for k, n in enumerate((least, least + 1, *_SHORT))]
    fits = [text for text in short if 0 < len(tokenizer.encode(text)) <= max_tokens]
    mixed = [text for pair in zip(long, fits, strict=False) for text in pair]
    return [*mixed, *fits[len(long) :], *long[len(fits) :], fits[-1]]


def other_ids(reference: Any, tokenizer: Tokenizer, said: Sequence[str]) -> str | None:
    """None if our token ids are those that sentence-transformers feeds its model; else where not, one line."""
    for text in said:
        ours = list(tokenizer.encode(text))
        theirs = reference.preprocess([text], prompt=tokenizer.prompt)["input_ids"].flatten().tolist()
        if ours != theirs:
            return _differ(ours, theirs, len(tokenizer.suffix), text)
    return None


def _differ(ours: list[int], theirs: list[int], after: int, text: str) -> str:
    """`after`: special tokens at the end of every text, which stay where it is cut."""
    kept = len(theirs) - after
    if len(theirs) < len(ours) and ours[:kept] + ours[len(ours) - after :] == theirs:
        return (
            f"{CUT} {len(theirs)} tokens, because the tokenizer's own file says so, and the model takes more; "
            'write "truncation": null into its tokenizer.json'
        )
    pairs = zip(ours, theirs, strict=False)
    place = next((k for k, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
    ends = f"of {len(ours)} and {len(theirs)}"
    return f"token ids differ from those of sentence-transformers, at {place} {ends}, for {text[:40]!r}"


def _words(reference: Any) -> str:
    """Tokens from all over the vocabulary, as text."""
    vocabulary = sorted(reference.tokenizer.get_vocab().values())
    some = vocabulary[:: max(len(vocabulary) // 600, 1)]
    return str(reference.tokenizer.decode(some, skip_special_tokens=True))


def _cut(material: str, tokenizer: Tokenizer, tokens: int, skip: int) -> str:
    """A piece of `material`, `skip` tokens into it, of `tokens` tokens with specials and prompt, or the next less."""
    span = tokenizer.span(material)
    inner = tokens - len(tokenizer.encode(""))
    skip = min(skip, max(len(span.ids) - inner - 8, 0))
    best = ""
    # cut elsewhere, a text's tokens may be others and more or fewer: look around the place
    for k in range(min(skip + inner + 4, len(span.ids)), max(skip + inner - 8, skip), -1):
        piece = material[int(span.starts[skip]) : int(span.ends[k - 1])]
        if (length := len(tokenizer.encode(piece))) == tokens:
            return piece
        if length < tokens and not best:
            best = piece
    return best
