"""Tiny tokenizers of every family, trained on the spot, with the parts that real ones are made of."""

from __future__ import annotations

import functools

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "The boundary layer on a flat plate grows with the square root of the distance from its leading edge.",
    "naïve café don't isn't we'll 3.14 12345 x=1; (see Fig. 3) wing flow Boundary layer. flow?",
    "東京は日本の首都です。 한국어 문장 हिन्दी पाठ สวัสดี",
    "a\nb\n\nc\td  e   f - * ! ? ; : / _",
] * 3
SPECIALS = ["<s>", "</s>", "<unk>", "<mask>"]


@functools.cache
def backend(name: str) -> str:
    """The family's tokenizer.json."""
    made: str = _MAKERS[name]().to_str()
    return made


def _trained(tokenizer: tokenizers.Tokenizer, trainer: object) -> tokenizers.Tokenizer:
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _wordpiece(**normalizer: bool) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(**normalizer)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    _trained(made, trainers.WordPieceTrainer(show_progress=False, vocab_size=160, special_tokens=specials))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


def _byte_bpe(*, prefix_space: bool = False, split: str | None = None) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    if split:
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _trained(
        made,
        trainers.BpeTrainer(show_progress=False, vocab_size=420, special_tokens=SPECIALS, initial_alphabet=alphabet),
    )
    made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    made.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=prefix_space)
    made.decoder = decoders.ByteLevel()
    return made


def _unigram(scheme: str, *, words: bool = False, normalizer: object = None) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    if normalizer is not None:
        made.normalizer = normalizer
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if words else metaspace
    _trained(
        made, trainers.UnigramTrainer(show_progress=False, vocab_size=180, special_tokens=SPECIALS, unk_token="<unk>")
    )
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made


def _one_long_word() -> tokenizers.Tokenizer:
    """As the first Llamas: spaces are letters like any other, and the whole text is one word."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _trained(made, trainers.BpeTrainer(show_progress=False, vocab_size=200, special_tokens=SPECIALS))


def _token_of_two_words() -> tokenizers.Tokenizer:
    made = _byte_bpe()
    made.add_tokens(["flow layer.", "wing flow"])
    return made


_MAKERS = {
    "wordpiece": functools.partial(_wordpiece, lowercase=True),
    "wordpiece cased": functools.partial(_wordpiece, lowercase=False, strip_accents=False),
    "byte bpe": _byte_bpe,
    "byte bpe, prefix space": functools.partial(_byte_bpe, prefix_space=True),
    "byte bpe, split": functools.partial(_byte_bpe, split=LLAMA3),
    "unigram, always": functools.partial(_unigram, "always", normalizer=normalizers.NFKC()),
    "unigram, first": functools.partial(_unigram, "first"),
    "unigram, never": functools.partial(_unigram, "never"),
    "unigram, words": functools.partial(_unigram, "always", words=True, normalizer=normalizers.NFC()),
    "one long word": _one_long_word,
    "token of two words": _token_of_two_words,
    "byte bpe, unknown split": functools.partial(_byte_bpe, split=r"\S+\s?|\s+"),
}
SLICED = {"wordpiece": "words", "wordpiece cased": "words"} | {
    name: "spaces" for name in _MAKERS if name.startswith(("byte", "unigram")) and "unknown" not in name
}
"""Families of which slices are right, and how."""
FAMILIES = tuple(_MAKERS)
