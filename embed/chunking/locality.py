"""Whether a tokenizer's words can be told apart without it: read from the layout in its tokenizer.json.

Slices of token ids can be given to the model only where a word's tokens depend on that word alone. What is not known
to be so is not taken for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

Locality: TypeAlias = Literal["words", "spaces", "none"]
"""`words`: BERT's own pipeline: words never see past any whitespace. `spaces`: what stands before a plain space
between two plain characters does not change the tokens from that space on; a word at the start of a text may have
other tokens than inside. `none`: nothing is known."""

_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Strip", "BertNormalizer"}
_CUTTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel", "Metaspace", "Split"}
_FINER = {"Digits", "Punctuation", *_CUTTERS}
# Patterns whose matches end before a plain space: those of GPT-2, of cl100k and Llama 3, of Qwen 2.
_BYTES = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LATER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {_BYTES, _LATER % r"\p{N}{1,3}", _LATER % r"\p{N}"}


def locality(layout: Mapping[str, Any]) -> Locality:
    """What the layout promises. A promise made here is tried on samples where the tokenizer is loaded."""
    normalizers, cutters = list(_parts(layout, "normalizer")), list(_parts(layout, "pre_tokenizer"))
    model = layout.get("model") or {}
    if any(any(map(str.isspace, str(token.get("content", "")))) for token in layout.get("added_tokens") or ()):
        return "none"  # it may be found across a cut
    if model.get("dropout") or not all(map(_harmless, normalizers)) or not cutters:
        return "none"
    kinds = [part.get("type") for part in (*normalizers, *cutters)]
    if model.get("type") == "WordPiece" and kinds in (["BertPreTokenizer"], ["BertNormalizer", "BertPreTokenizer"]):
        return "words"
    if any(part.get("type") not in _FINER or (part.get("type") == "Split" and not _cuts(part)) for part in cutters):
        return "none"
    return "spaces" if any(map(_cuts, cutters)) else "none"


def _parts(layout: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, sequences opened."""
    found = layout.get(name)
    if not found:
        return
    if found.get("type") == "Sequence":
        for part in found.get("normalizers") or found.get("pretokenizers") or ():
            yield from _parts({name: part}, name)
    else:
        yield found


def _harmless(part: Mapping[str, Any]) -> bool:
    """Whether this normalizer changes nothing across a plain space between two plain characters."""
    if part.get("type") == "Replace":
        pattern, content = part.get("pattern") or {}, str(part.get("content", ""))
        said = pattern.get("String")
        if pattern.get("Regex") in (" {2,}", r"\s{2,}"):
            return content in (" ", "▁")
        return isinstance(said, str) and bool(said) and not any(map(str.isspace, said + content))
    return part.get("type") in _NORMALIZERS or part.get("type") == "Precompiled"


def _cuts(part: Mapping[str, Any]) -> bool:
    """Whether this pre-tokenizer alone sets apart what a plain space sets apart."""
    match part.get("type"):
        case "ByteLevel":
            return part.get("use_regex") is not False
        case "Metaspace":
            return part.get("split") is not False
        case "Split":
            pattern = (part.get("pattern") or {}).get("Regex")
            return pattern in _PATTERNS and part.get("behavior") == "Isolated" and not part.get("invert")
        case kind:
            return kind in _CUTTERS
