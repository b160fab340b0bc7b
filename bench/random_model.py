"""Models of a known shape with random weights, and a tokenizer for them: speed does not ask what the weights say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """Of a BERT: as its configuration names them; `longest` in tokens, specials included."""

    hidden: int
    layers: int
    heads: int
    wide: int
    longest: int


SHAPES = {
    "bert-base": Shape(768, 12, 12, 3072, 512),
    "minilm-l6": Shape(384, 6, 12, 1536, 256),
    "tiny": Shape(64, 2, 4, 128, 64),
}
VOCABULARY = 30_522
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_SPREAD = 0.05
"""Of the weights: wider than the usual 0.02, so that different texts get vectors that differ."""


def tokenizer(texts: Sequence[str]) -> Any:
    """A WordPiece tokenizer as BERT has it, with a vocabulary out of these texts."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=_SPECIALS, show_progress=False)
    made.train_from_iterator(texts, trainer)
    ends = [(word, made.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return made


def save(folder: Path, shape: Shape, made: Any, seed: int = 7) -> Path:
    """A model directory as sentence-transformers saves one: transformer, mean pooling, normalisation."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.wide,
        max_position_embeddings=shape.longest,
        initializer_range=_SPREAD,
    )
    inner = folder / "transformer"
    BertModel(config).save_pretrained(inner)
    BertTokenizerFast(tokenizer_object=made, model_max_length=shape.longest).save_pretrained(inner)
    first = Transformer(str(inner), max_seq_length=shape.longest)
    whole = SentenceTransformer(modules=[first, Pooling(shape.hidden, "mean"), Normalize()], device="cpu")
    whole.save(str(folder / "model"))
    return folder / "model"
