"""Tiny models with random weights, of every kind that people save: made here, saved by sentence-transformers itself.

`variants()` names them and makes each in a directory; nothing is downloaded, each takes some tens of milliseconds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, normalizers, pre_tokenizers, processors, trainers

from penstock.embed.engine.ordinary import quiet
from penstock.embed.engine.parity import SCRIPTS

HIDDEN, LAYERS, MAX_TOKENS = 32, 2, 64
TEXTS = (*SCRIPTS, "a", "", "One sentence that is no longer than most.", "Tokens " * 20)
"""What variants are compared on."""

Builder = Callable[[Path], None]
"""Saves a model in a directory."""

_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.3,  # random weights of the usual size make all texts alike
}
_BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def variants() -> dict[str, Builder]:
    """Name -> builder. A name's first word is the family, the rest what is special about it."""
    return {
        **{f"bert {mode}": functools.partial(_bert, pooling=(mode,)) for mode in _POOLINGS},
        "bert several poolings": functools.partial(_bert, pooling=("cls", "max", "mean")),
        "bert not normalised": functools.partial(_bert, normalised=False),
        "bert dense": functools.partial(_bert, after=(_dense(HIDDEN, 24, torch.nn.Tanh()),), normalised=False),
        "bert dense and norm": functools.partial(
            _bert, after=(_dense(HIDDEN, 40, torch.nn.GELU()), _norm(40), _dense(40, 16, torch.nn.Identity()))
        ),
        "bert weighted layers": functools.partial(_bert, before=(_layers,), output_hidden_states=True),
        "bert convolution": functools.partial(_bert, before=(_convolution,), pooling=("max",), width=2 * 20),
        "bert word weights": functools.partial(_bert, before=(_word_weights,)),
        "bert prompts": functools.partial(_bert, settings={"prompts": {"query": "ask: ", "document": "text: "}}),
        "bert default prompt": functools.partial(
            _bert, settings={"prompts": {"any": "about: "}, "default_prompt_name": "any"}
        ),
        "bert prompt left out": functools.partial(
            _bert, settings={"prompts": {"query": "ask this: ", "document": "a text: "}}, include_prompt=False
        ),
        "bert truncated": functools.partial(_bert, settings={"truncate_dim": 12}),
        "bert lower case": functools.partial(_bert, lower=True),
        "bert alone": functools.partial(_bert, alone=True),
        "roberta mean": _roberta,
        "xlm-roberta cls": _xlm_roberta,
        "mpnet mean": _mpnet,
        "distilbert mean": functools.partial(_simple, "DistilBert", dim=HIDDEN, n_layers=LAYERS, n_heads=4),
        "albert mean": functools.partial(_simple, "Albert", embedding_size=16),
        "electra cls": functools.partial(_simple, "Electra", embedding_size=16, pooling="cls"),
        "deberta mean": functools.partial(
            _simple, "DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False
        ),
        "modernbert mean": functools.partial(
            _simple, "ModernBert", local_attention=16, pad_token_id=0, reference_compile=False
        ),
        "qwen last token": functools.partial(_decoder, "Qwen2"),
        "llama last token": functools.partial(_decoder, "Llama", start="<pad>"),
        "gpt2 without padding": _gpt2,
        "fnet without a mask": functools.partial(_simple, "FNet"),
        "convbert over its padding": functools.partial(_simple, "ConvBert", embedding_size=16),
        "t5 encoder": _t5,
        "static": _static,
    }


_POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def _bert(
    folder: Path,
    *,
    pooling: Iterable[str] = ("mean",),
    before: Iterable[Callable[[], Any]] = (),
    after: Iterable[Callable[[], Any]] = (),
    width: int = HIDDEN,
    normalised: bool = True,
    include_prompt: bool = True,
    lower: bool = False,
    alone: bool = False,
    output_hidden_states: bool = False,
    settings: dict[str, Any] | None = None,
) -> None:
    import transformers
    from sentence_transformers import models

    words = _word_pieces(lowercase=False)
    config = transformers.BertConfig(
        **_SIZES, vocab_size=len(words), max_position_embeddings=MAX_TOKENS, output_hidden_states=output_hidden_states
    )
    raw = folder if alone else folder / "raw"
    _save_raw(raw, transformers.BertModel, config, words)
    if alone:
        return
    modes = tuple(pooling)
    pool = models.Pooling(width, pooling_mode=modes[0] if len(modes) == 1 else modes, include_prompt=include_prompt)
    parts = [part() for part in before] + [pool] + [part() for part in after]
    _save(folder, [*parts, *([models.Normalize()] if normalised else [])], settings)
    if lower:
        _edit(folder / "sentence_bert_config.json", do_lower_case=True)


def _simple(kind: str, folder: Path, *, pooling: str = "mean", **more: Any) -> None:
    """A family whose config and model are named alike, with the tokenizer of BERT."""
    import transformers
    from sentence_transformers import models

    words = _word_pieces(lowercase=True)
    sizes = {key: value for key, value in _SIZES.items() if kind != "DistilBert" or key == "initializer_range"}
    config = getattr(transformers, f"{kind}Config")(
        **{**sizes, "vocab_size": len(words), "max_position_embeddings": MAX_TOKENS, **more}
    )
    _save_raw(folder / "raw", getattr(transformers, f"{kind}Model"), config, words)
    _save(folder, [models.Pooling(HIDDEN, pooling_mode=pooling)])


def _roberta(folder: Path) -> None:
    import transformers
    from sentence_transformers import models

    pairs = _byte_pairs(_ROBERTA_SPECIALS, start="<s>", end="</s>")
    config = transformers.RobertaConfig(
        **_SIZES, vocab_size=len(pairs), max_position_embeddings=MAX_TOKENS + 2, pad_token_id=1, type_vocab_size=1
    )
    _save_raw(folder / "raw", transformers.RobertaModel, config, pairs)
    _save(folder, [models.Pooling(HIDDEN), models.Normalize()])


def _xlm_roberta(folder: Path) -> None:
    import transformers
    from sentence_transformers import models

    pieces = _pieces(_ROBERTA_SPECIALS, start="<s>", end="</s>")
    config = transformers.XLMRobertaConfig(
        **_SIZES, vocab_size=len(pieces), max_position_embeddings=MAX_TOKENS + 2, pad_token_id=1, type_vocab_size=1
    )
    _save_raw(folder / "raw", transformers.XLMRobertaModel, config, pieces)
    _save(folder, [models.Pooling(HIDDEN, pooling_mode="cls"), models.Normalize()])


def _mpnet(folder: Path) -> None:
    import transformers
    from sentence_transformers import models

    words = _word_pieces(("<s>", "<pad>", "</s>", "[UNK]", "<mask>"), lowercase=True)
    config = transformers.MPNetConfig(
        **_SIZES, vocab_size=len(words), max_position_embeddings=MAX_TOKENS + 2, pad_token_id=1
    )
    _save_raw(folder / "raw", transformers.MPNetModel, config, words)
    _save(folder, [models.Pooling(HIDDEN), models.Normalize()])


def _decoder(kind: str, folder: Path, *, start: str | None = None) -> None:
    """Pads on the left, takes the last token, which is one that says the end."""
    import transformers
    from sentence_transformers import models

    pairs = _byte_pairs(("<pad>", "<end>"), start=start, end="<end>")
    pairs.padding_side = "left"
    config = getattr(transformers, f"{kind}Config")(
        **_SIZES, vocab_size=len(pairs), max_position_embeddings=MAX_TOKENS, num_key_value_heads=2
    )
    _save_raw(folder / "raw", getattr(transformers, f"{kind}Model"), config, pairs)
    _save(folder, [models.Pooling(HIDDEN, pooling_mode="lasttoken"), models.Normalize()])


def _gpt2(folder: Path) -> None:
    import transformers
    from sentence_transformers import models

    pairs = _byte_pairs(("<end>",), start=None, end=None)
    config = transformers.GPT2Config(
        n_embd=HIDDEN, n_layer=LAYERS, n_head=4, vocab_size=len(pairs), n_positions=MAX_TOKENS, initializer_range=0.3
    )
    _save_raw(folder / "raw", transformers.GPT2Model, config, pairs)
    _save(folder, [models.Pooling(HIDDEN, pooling_mode="weightedmean")])


def _t5(folder: Path) -> None:
    import transformers
    from sentence_transformers import models

    pieces = _pieces(("<pad>", "</s>", "<unk>"), start=None, end="</s>")
    config = transformers.T5Config(
        d_model=HIDDEN, d_kv=8, d_ff=48, num_layers=LAYERS, num_heads=4, vocab_size=len(pieces), initializer_factor=3.0
    )
    _save_raw(folder / "raw", transformers.T5EncoderModel, config, pieces)
    _save(folder, [models.Pooling(HIDDEN), _dense(HIDDEN, 24, torch.nn.Identity())(), models.Normalize()])


def _static(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer, models

    backend = _word_pieces(lowercase=True).backend_tokenizer
    torch.manual_seed(1)
    table = models.StaticEmbedding(backend, embedding_dim=HIDDEN)
    SentenceTransformer(modules=[table], device="cpu").save(str(folder), create_model_card=False)


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────


def _dense(into: int, out: int, activation: Any) -> Callable[[], Any]:
    def part() -> Any:
        from sentence_transformers import models

        return models.Dense(into, out, activation_function=activation)

    return part


def _norm(width: int) -> Callable[[], Any]:
    def part() -> Any:
        from sentence_transformers import models

        return models.LayerNorm(width)

    return part


def _layers() -> Any:
    from sentence_transformers import models

    return models.WeightedLayerPooling(HIDDEN, num_hidden_layers=LAYERS, layer_start=1)


def _convolution() -> Any:
    from sentence_transformers import models

    return models.CNN(HIDDEN, out_channels=20, kernel_sizes=[1, 3])


def _word_weights() -> Any:
    from sentence_transformers import models

    count = len(_word_pieces(lowercase=False))
    vocabulary = [str(number) for number in range(count)]
    return models.WordWeights(vocabulary, {word: 0.1 + 0.05 * (k % 30) for k, word in enumerate(vocabulary)})


# ── tokenizers ───────────────────────────────────────────────────────────────────────────────────────────


def _corpus() -> list[str]:
    return [*SCRIPTS, "One two three sentences of words that are no longer than most, again and again. Tokens."] * 3


@functools.cache
def _trained_words(specials: tuple[str, ...], lowercase: bool) -> str:
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(specials), show_progress=False)
    backend.train_from_iterator(_corpus() + [text.lower() for text in _corpus()], trainer)
    return str(backend.to_str())


def _word_pieces(specials: tuple[str, ...] = _BERT_SPECIALS, *, lowercase: bool) -> Any:
    start, end = (name for name in specials if name in ("[CLS]", "[SEP]", "<s>", "</s>"))
    return _wrapped(_trained_words(specials, lowercase), specials, start, end)


@functools.cache
def _trained_pairs(specials: tuple[str, ...]) -> str:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(_corpus(), trainer)
    return str(backend.to_str())


def _byte_pairs(specials: tuple[str, ...], *, start: str | None, end: str | None) -> Any:
    return _wrapped(_trained_pairs(specials), specials, start, end)


@functools.cache
def _trained_pieces(specials: tuple[str, ...]) -> str:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(_corpus(), trainer)
    return str(backend.to_str())


def _pieces(specials: tuple[str, ...], *, start: str | None, end: str | None) -> Any:
    return _wrapped(_trained_pieces(specials), specials, start, end)


def _wrapped(trained: str, specials: tuple[str, ...], start: str | None, end: str | None) -> Any:
    """A tokenizer of transformers, which puts `start` and `end` around each text."""
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.Tokenizer.from_str(trained)
    if start or end:
        around = f"{start or ''} $A {end or ''}".strip()
        known = [(name, backend.token_to_id(name)) for name in (start, end) if name]
        backend.post_processor = processors.TemplateProcessing(single=around, special_tokens=known)
    said = {
        "unk_token": ("[UNK]", "<unk>"),
        "pad_token": ("[PAD]", "<pad>"),
        "cls_token": ("[CLS]", "<s>") if end else (),
        "sep_token": ("[SEP]", "</s>"),
        "eos_token": ("<end>",),
        "mask_token": ("[MASK]", "<mask>"),
    }
    names = {key: next((name for name in specials if name in known), None) for key, known in said.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=MAX_TOKENS, **{key: name for key, name in names.items() if name}
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────


def _save_raw(folder: Path, kind: Any, config: Any, tokenizer: Any) -> None:
    torch.manual_seed(0)
    with quiet():
        kind(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _save(folder: Path, parts: list[Any], settings: dict[str, Any] | None = None) -> None:
    """A SentenceTransformer of the transformer in `folder`/raw and the parts after it."""
    from sentence_transformers import SentenceTransformer, models

    with quiet():
        first = models.Transformer(str(folder / "raw"))
        SentenceTransformer(modules=[first, *parts], device="cpu").save(str(folder), create_model_card=False)
    for file in sorted((folder / "raw").iterdir()):
        file.unlink()
    (folder / "raw").rmdir()
    if settings:
        _edit(folder / "config_sentence_transformers.json", **settings)


def _edit(file: Path, **changes: Any) -> None:
    said = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**said, **changes}))
