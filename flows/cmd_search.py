"""`search`: one question, or a file of them, answered from the published index."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.flows import home as homes
from penstock.flows import questions, render
from penstock.flows.console import Console
from penstock.flows.context import Context, context
from penstock.flows.exits import COMPLETE, UsageError
from penstock.flows.questions import Question

if TYPE_CHECKING:
    from penstock.embed.types import Encoder
    from penstock.index.types import Hit, SpaceRef

BATCH = 64
# How the text was cut, and what the model is called here, do not decide whether vectors compare.
NOT_COMPARED = ("model", "chunker", "chunk_tokens", "overlap_tokens")


def search(arguments: argparse.Namespace, console: Console) -> int:
    """Print the hits of one question, or one JSON line for each query of a file."""
    asked = _asked(arguments)
    ctx = context(arguments)
    homes.require(ctx.home)
    console.sign("opening the index and the model …")
    reader, encoder = _open(ctx, console)
    with reader:
        for question, found in answers(asked, encoder, reader, arguments.k):
            _print(question, found, arguments.queries is not None, console)
    return COMPLETE


def answers(
    asked: Sequence[Question], encoder: Encoder | None, reader: Any, k: int
) -> Iterator[tuple[Question, Sequence[Hit]]]:
    """Each question with its hits, in the order asked; encoded a batch at a time. No encoder: no hits."""
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        if encoder is None:
            found: Sequence[Sequence[Hit]] = [[] for _ in batch]
        else:
            found = reader.search(encoder.encode_queries([question.text for question in batch]), k)
        yield from zip(batch, found, strict=True)


def _asked(arguments: argparse.Namespace) -> list[Question]:
    if (arguments.question is None) == (arguments.queries is None):
        raise UsageError("give a QUESTION, or --queries FILE, one of the two; see `penstock search --help`")
    if arguments.queries is not None:
        return questions.read(arguments.queries)
    return questions.typed(arguments.question)


def _open(ctx: Context, console: Console) -> tuple[Any, Encoder | None]:
    """The reader, and the encoder that its vectors were made with; None while the index is empty.

    Raises `UsageError` if the configuration asks for another model than the index was made with.
    """
    from penstock.flows import wiring

    settings = ctx.settings
    with ThreadPoolExecutor(1) as pool:
        # The likely model is loaded beside the index; most of that is importing torch, which is never wasted.
        likely = pool.submit(_load, settings.embed.model, settings.embed.device)
        reader = wiring.open_reader(settings, ctx.home, console.say)
    space = reader.manifest.spaces.get(reader.manifest.live)
    if space is None:
        return reader, None
    recorded = space.identity.get("model")
    if recorded and recorded != settings.embed.model and "embed.model" not in settings.said:
        encoder = _load(recorded, settings.embed.device)
    else:
        encoder = likely.result()
    _check(space, encoder, settings.embed.model)
    return reader, encoder


def _load(model: str, device: str | None) -> Encoder:
    from penstock.embed import encoder

    return encoder.load(model, device=device)


def _check(space: SpaceRef, encoder: Encoder, model: str) -> None:
    if differs := mismatch(encoder.identity, space.identity):
        was = space.identity.get("model", "another model")
        raise UsageError(
            f"this is an index of another model: it was made with {was}, the configuration says {model} "
            f"(they differ in {', '.join(differs)}); set embed.model to {was}"
        )


def mismatch(encoder: Mapping[str, str], space: Mapping[str, str]) -> list[str]:
    """The keys of the identity that forbid comparing vectors of the two."""
    return sorted(key for key in encoder if key not in NOT_COMPARED and encoder[key] != space.get(key))


def _print(question: Question, found: Sequence[Hit], many: bool, console: Console) -> None:
    if console.as_json:
        payload = [msgspec.structs.asdict(hit) for hit in found]
        console.json_line({"id": question.id, "hits": payload})
    elif many:
        console.write(f"[{question.id}] {render.plain(question.text)}\n\n{render.hits(found)}\n")
    else:
        console.write(render.hits(found))
