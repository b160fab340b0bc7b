"""What a BERT-like transformer is made of, found in the modules of transformers: the input of a leaner one.

Each family has one reader. A model that is not exactly what its reader knows is left to the ordinary path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Norm(NamedTuple):
    """Layer normalisation: `weight` and `bias` float32 (hidden,)."""

    weight: Any
    bias: Any
    eps: float


class Layer(NamedTuple):
    """One block, normalised after each half: the linear parts are `torch.nn.Linear`."""

    query: Any
    key: Any
    value: Any
    out: Any
    attention_norm: Norm
    up: Any
    down: Any
    norm: Norm


class Anatomy(NamedTuple):
    """A whole encoder. `words` float32 (vocabulary, hidden), `places` float32 (positions, hidden).

    `pad`: positions are counted from `pad` + 1 and tokens with that id do not count, as RoBERTa does; None: from 0.
    `activation`: as `torch.nn.functional.gelu` calls its approximation, or `relu`. `bias`: gives what is added to
    scores, float32 (heads, n, n), for the longest n; None if nothing is.
    """

    words: Any
    places: Any
    pad: int | None
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    activation: str
    bias: Callable[[int], Any] | None = None

    @property
    def hidden(self) -> int:
        return int(self.words.shape[1])


class NotKnown(Exception):
    """The model is none that is known here; the message says why."""


_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "relu": "relu"}


def anatomy(network: Any) -> Anatomy:
    """The parts of a model of transformers; None is no such model. Raises `NotKnown`."""
    kind = type(network).__name__
    if network is None:
        raise NotKnown("a model without a transformer has no fast path")
    reader = _READERS.get(kind)
    if reader is None:
        raise NotKnown(f"{kind} has no fast path")
    config = network.config
    odd = {
        "is_decoder": getattr(config, "is_decoder", False),
        "position_embedding_type": getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"),
        "chunk_size_feed_forward": getattr(config, "chunk_size_feed_forward", 0),
    }
    if said := [name for name, deviates in odd.items() if deviates]:
        raise NotKnown(f"{kind} with {', '.join(said)} has no fast path")
    try:
        return reader(network)
    except AttributeError as error:  # another release of transformers calls its parts otherwise
        raise NotKnown(f"this release of transformers has another {kind}: {error}") from error


def _bert(network: Any) -> Anatomy:
    config, embeddings = network.config, network.embeddings
    if any(True for _ in embeddings.children() if type(_).__name__ == "Linear"):
        raise NotKnown("projected embeddings have no fast path")
    counted = hasattr(embeddings, "padding_idx")
    return Anatomy(
        words=embeddings.word_embeddings.weight.detach(),
        places=(embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]).detach(),
        pad=int(embeddings.padding_idx) if counted else None,
        norm=_norm(embeddings.LayerNorm),
        layers=tuple(_bert_layer(layer) for layer in network.encoder.layer),
        heads=config.num_attention_heads,
        activation=_activation(config.hidden_act),
    )


def _bert_layer(layer: Any) -> Layer:
    inner, output = layer.attention.self, layer.attention.output
    return Layer(
        query=inner.query,
        key=inner.key,
        value=inner.value,
        out=output.dense,
        attention_norm=_norm(output.LayerNorm),
        up=layer.intermediate.dense,
        down=layer.output.dense,
        norm=_norm(layer.output.LayerNorm),
    )


def _mpnet(network: Any) -> Anatomy:
    config, embeddings = network.config, network.embeddings

    def bias(longest: int) -> Any:
        import torch

        return network.encoder.compute_position_bias(torch.empty((1, longest, 1), device=network.device))[0].float()

    return Anatomy(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        pad=int(embeddings.padding_idx),
        norm=_norm(embeddings.LayerNorm),
        layers=tuple(
            Layer(
                query=layer.attention.attn.q,
                key=layer.attention.attn.k,
                value=layer.attention.attn.v,
                out=layer.attention.attn.o,
                attention_norm=_norm(layer.attention.LayerNorm),
                up=layer.intermediate.dense,
                down=layer.output.dense,
                norm=_norm(layer.output.LayerNorm),
            )
            for layer in network.encoder.layer
        ),
        heads=config.num_attention_heads,
        activation=_activation(config.hidden_act),
        bias=bias,
    )


def _distilbert(network: Any) -> Anatomy:
    config, embeddings = network.config, network.embeddings
    return Anatomy(
        words=embeddings.word_embeddings.weight.detach(),
        places=embeddings.position_embeddings.weight.detach(),
        pad=None,
        norm=_norm(embeddings.LayerNorm),
        layers=tuple(
            Layer(
                query=layer.attention.q_lin,
                key=layer.attention.k_lin,
                value=layer.attention.v_lin,
                out=layer.attention.out_lin,
                attention_norm=_norm(layer.sa_layer_norm),
                up=layer.ffn.lin1,
                down=layer.ffn.lin2,
                norm=_norm(layer.output_layer_norm),
            )
            for layer in network.transformer.layer
        ),
        heads=config.n_heads,
        activation=_activation(config.activation),
    )


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach().float(), module.bias.detach().float(), float(module.eps))


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise NotKnown(f"the activation {name} has no fast path")
    return _ACTIVATIONS[name]


_READERS: dict[str, Callable[[Any], Anatomy]] = {
    "BertModel": _bert,
    "RobertaModel": _bert,
    "XLMRobertaModel": _bert,
    "CamembertModel": _bert,
    "MPNetModel": _mpnet,
    "DistilBertModel": _distilbert,
}


def known() -> Iterable[str]:
    """The classes of transformers that have a fast path."""
    return sorted(_READERS)
