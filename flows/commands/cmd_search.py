"""`search`: one question, or a file of them, answered from the published index."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.commands import questions
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened
from penstock.flows.commands.questions import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock.embed.types import Encoder
    from penstock.flows.config.settings import Settings
    from penstock.index.reading.reader import Reader
    from penstock.index.segments.facets import Filter
    from penstock.index.types import Hit, SpaceRef

BATCH = 64


class Searchable(Protocol):
    """What is asked of a reader."""

    def search(
        self, vectors: NDArray[np.float32], k: int, *, where: Filter | None = None, exact: bool = False
    ) -> Sequence[Sequence[Hit]]: ...


def search(arguments: argparse.Namespace, console: Console) -> int:
    """Print the hits of one question, or one JSON line for each query of a file."""
    asked = _asked(arguments)
    where = narrowed(arguments.where, arguments.label, arguments.source)
    ctx = context(arguments)
    ctx.required()
    console.sign("opening the index and the model …")
    ready = _open(ctx, console)
    for question, found in answers(asked, ready, arguments.k, where, arguments.exact):
        _print(question, found, arguments.queries is not None, console, where is not None)
    return COMPLETE


def narrowed(where: Sequence[str], labels: Sequence[str], source: str | None) -> Filter | None:
    """The filter that the options ask for, None for none. One key given twice: either value. Raises `UsageError`."""
    from penstock.index.segments.facets import Filter

    metadata: dict[str, tuple[str, ...]] = {}
    for word in where:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--where {word}: write --where KEY=VALUE")
        metadata[key] = (*metadata.get(key, ()), value)
    found = Filter(metadata, frozenset(labels) if labels else None, frozenset({source}) if source else None)
    return found if found else None


def answers(
    asked: Sequence[Question],
    ready: tuple[Searchable, Encoder] | None,
    k: int,
    where: Filter | None = None,
    exact: bool = False,
) -> Iterator[tuple[Question, Sequence[Hit]]]:
    """Each question with its hits, in the order asked, encoded a batch at a time. Nothing ready: no hits."""
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        found: Sequence[Sequence[Hit]] = [[] for _ in batch]
        if ready is not None:
            reader, encoder = ready
            vectors = encoder.encode_queries([question.text for question in batch])
            found = reader.search(vectors, k, where=where, exact=exact)
        yield from zip(batch, found, strict=True)


def _asked(arguments: argparse.Namespace) -> list[Question]:
    if (arguments.question is None) == (arguments.queries is None):
        raise UsageError("give a QUESTION, or --queries FILE, one of the two; see `penstock search --help`")
    if arguments.queries is not None:
        return questions.read(arguments.queries)
    return questions.typed(arguments.question)


def _open(ctx: Context, console: Console) -> tuple[Reader, Encoder] | None:
    """The reader, and the encoder that its vectors were made with; None while there is nothing to search.

    Raises `UsageError` if the configuration asks for another model than the index was made with.
    """
    from penstock.flows import model_wiring

    if not ctx.begun():
        return None
    asked = msgspec.structs.replace(ctx.settings, home=str(ctx.home))
    with ThreadPoolExecutor(1, thread_name_prefix="model") as pool:
        # The likely model is loaded beside the index; most of that is importing torch, which is never wasted.
        likely = pool.submit(model_wiring.encoder, asked)
        reader = opened(ctx, console)
        space = reader.manifest.spaces.get(reader.manifest.live) if reader else None
        if reader is None or space is None:
            return None
        settings = as_made(space, asked)
        _check(space, settings)
    if settings.embed == asked.embed:
        return reader, _compared(space, likely.result(), console)
    return reader, _compared(space, model_wiring.encoder(settings), console)


def _compared(space: SpaceRef, encoder: Encoder, console: Console) -> Encoder:
    """The encoder; stderr says so if it makes other vectors than the index has. Answers are better than none."""
    from penstock.flows.runs import gate

    if (doubt := gate.doubt(space, encoder)) is not None:
        console.say(doubt)
    return encoder


def as_made(space: SpaceRef, settings: Settings) -> Settings:
    """The model, prompts and dimensions that the index was made with, where nobody said others."""
    from penstock.flows import model_wiring

    if "endpoint" in space.identity and settings.embed.endpoint is None:
        raise UsageError(
            f"this index was made by an endpoint, with its model {space.identity.get('model', '')}: describe that in "
            "[embed.endpoint], and name the model in embed.model"
        )
    replace = msgspec.structs.replace
    embed = replace(settings.embed, model=_model(space, settings))
    mine = model_wiring.model_identity(replace(settings, embed=embed))
    for key in ("query_prompt", "document_prompt"):
        if f"embed.{key}" not in settings.said and mine.get(key) != space.identity.get(key):
            embed = replace(embed, **{key: space.identity.get(key)})
    dim = int(space.identity.get("dim", 0))
    if "embed.truncate_dim" not in settings.said and 0 < dim < int(mine.get("dim", 0)):
        embed = replace(embed, truncate_dim=dim)
    return replace(settings, embed=embed)


def _model(space: SpaceRef, settings: Settings) -> str:
    """The model that somebody configured, else the one that the index says it was made with, else the default."""
    if "embed.model" in settings.said:
        return settings.embed.model
    said = [segment.provenance.get("model", "") for segment in space.segments]
    return next((name for name in reversed(said) if name), settings.embed.model)


def _check(space: SpaceRef, settings: Settings) -> None:
    """Compare identities by the model's files, before it is loaded."""
    from penstock.flows import model_wiring

    if differs := mismatch(model_wiring.model_identity(settings), space.identity):
        named = {segment.provenance.get("model", "") for segment in space.segments} - {""}
        was = ", ".join(sorted(named)) or f"weights {space.identity.get('weights', 'unknown')[:12]}"
        raise UsageError(
            f"this is the index of another model: it was made with {was}, not with {settings.embed.model} "
            f"(they differ in {', '.join(differs)}); set [embed] to what it was made with"
        )


def mismatch(model: Mapping[str, str], space: Mapping[str, str]) -> list[str]:
    """The keys that forbid comparing a model's vectors with a space's. How the space was cut is not the model's."""
    return sorted(key for key in model if model[key] != space.get(key))


def _print(question: Question, found: Sequence[Hit], many: bool, console: Console, narrowed: bool) -> None:
    if console.as_json:
        payload = [msgspec.structs.asdict(hit) for hit in found]
        console.json_line({"id": question.id, "hits": payload})
    elif many:
        console.write(f"[{question.id}] {render.plain(question.text)}\n\n{render.hits(found, narrowed=narrowed)}\n")
    else:
        console.write(render.hits(found, narrowed=narrowed))
