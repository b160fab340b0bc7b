"""The composition root's part for models: what vectors are, what documents are cut with, and who makes the vectors.

As in `wiring`, everything heavy is imported inside the function that needs it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows import wiring
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.index.errors import WrongIndex
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.connectors.types import Document
    from penstock.embed.cache import Cache
    from penstock.embed.models import Model as ResolvedModel
    from penstock.embed.tokenize import Tokenizer
    from penstock.embed.types import Chunk, Encoder, EncoderSpec
    from penstock.flows.runs.gate import Gate
    from penstock.flows.runs.loading import Model
    from penstock.flows.runs.shaping import Cut


def identity(settings: Settings) -> dict[str, str]:
    """What vectors of this run are: the model's identity and the chunking.

    Read from the model's files: nothing is loaded. Raises `UnknownModel`, `SettingsError`.
    """
    from penstock.embed.chunking import chunk

    size, overlap = chunking(settings)
    return {
        **model_identity(settings),
        "chunker": chunk.VERSION,
        "chunk_tokens": str(size),
        "overlap_tokens": str(overlap),
        **_measure(settings),
    }


def model_identity(settings: Settings) -> dict[str, str]:
    """What decides a text's vector: the model alone, not the chunking. Equal to the loaded encoder's `identity`."""
    if settings.embed.endpoint is not None:
        from penstock.flows.runs import endpoint_terms

        return endpoint_terms.identity(settings)
    from penstock.embed import models

    return models.identity(resolved(settings))


def resolved(settings: Settings) -> ResolvedModel:
    """The model as configured, found but not loaded. Raises `UnknownModel`."""
    from penstock.embed import models

    return models.of_spec(_spec(settings, None, None))


def _measure(settings: Settings) -> dict[str, str]:
    """Whose tokens chunks are measured in, where the model's identity does not say."""
    if settings.embed.endpoint is None:
        return {}
    from penstock.flows.runs import endpoint_terms

    return {"tokenizer": endpoint_terms.tokenizer_identity(settings)}


def check_identity(head: Manifest, mine: Mapping[str, str]) -> None:
    """Raise `WrongIndex` if the index was made with another model or other chunks."""
    space = head.spaces.get(head.live)
    if space is None or space.identity == mine:
        return
    differ = sorted(key for key in {*mine, *space.identity} if mine.get(key) != space.identity.get(key))
    said = ", ".join(f"{key} {_short(space.identity.get(key))} there, {_short(mine.get(key))} here" for key in differ)
    if differ == ["chunker"]:
        raise WrongIndex(
            f"this index was cut into chunks by the rules of another release ({said}); it can be searched as it is, "
            "but not added to: ingest into another --home, which embeds the texts anew, or go on with that release"
        )
    raise WrongIndex(
        f"this index was made with another model or other chunks ({said}); set [embed] as it was, or use another --home"
    )


def _short(value: str | None) -> str:
    return "none" if value is None else value if len(value) <= 16 else f"{value[:12]}…"


def document_tokenizer(settings: Settings) -> Tokenizer:
    """What documents are cut with. Raises `UnknownModel`."""
    if settings.embed.endpoint is not None:
        from penstock.flows.runs import endpoint_terms

        return endpoint_terms.tokenizer(settings)
    from penstock.embed import models

    model = resolved(settings)
    return _document_tokenizer(model, models.identity(model)["tokenizer"])


@lru_cache(maxsize=1)
def _document_tokenizer(model: ResolvedModel, digest: str) -> Tokenizer:
    """One for all who cut: nothing in it changes, and any thread may use it. `digest`: of its files."""
    from penstock.embed import tokenize

    return tokenize.document_tokenizer(model)


def cutter(settings: Settings) -> Cut:
    """Cuts a document into chunks of the model's own tokens."""
    from penstock.embed.chunking import chunk

    tokenizer = document_tokenizer(settings)
    size, overlap = chunking(settings)

    def cut(document: Document) -> list[Chunk]:
        return chunk.chunk(
            document.text,
            pages=[(span.start, span.end, span.page) for span in document.pages],
            headings=[(span.start, span.end, span.path) for span in document.headings],
            tokenizer=tokenizer,
            size=size,
            overlap=overlap,
        )

    return cut


def chunking(settings: Settings) -> tuple[int, int]:
    """(tokens in a chunk, tokens of overlap): as configured, else the model's maximum and our default."""
    from penstock.embed.chunking import chunk
    from penstock.flows.config.settings import SettingsError

    tokenizer = document_tokenizer(settings)
    size = settings.embed.chunk_tokens or _chunk_tokens(settings, tokenizer)
    overlap = settings.embed.overlap_tokens
    overlap = chunk.default_overlap(size) if overlap is None else overlap
    try:
        chunk.chunk("", tokenizer=tokenizer, size=size, overlap=overlap)
    except ValueError as error:
        raise SettingsError(f"[embed] chunk_tokens, overlap_tokens: {error}") from None
    return size, overlap


def _chunk_tokens(settings: Settings, tokenizer: Tokenizer) -> int:
    """Tokens in a chunk where nobody says: what the model takes."""
    if settings.embed.endpoint is None:
        return tokenizer.max_tokens
    from penstock.flows.runs import endpoint_terms

    return endpoint_terms.chunk_tokens(settings)


def encoder(settings: Settings) -> Encoder:
    """The model for questions, loaded in this process: seconds, mostly imports. Call it on a thread."""
    if settings.embed.endpoint is not None:
        from penstock.flows.runs.endpoint import Endpoint

        return Endpoint(settings, Home(Path(settings.home)), hurried=True).ready()
    from penstock.embed.engine.encoder import load_spec

    return load_spec(_spec(settings, settings.embed.device or next(iter(settings.embed.devices), None), None))


def devices_of(settings: Settings) -> dict[str, str | None]:
    """The devices of this run by their slots; none where the vectors come from an endpoint."""
    from penstock.flows.config import devices

    if settings.embed.endpoint is not None:
        return {}
    said = settings.embed.devices or ((settings.embed.device,) if settings.embed.device else ())
    return devices.chosen(said, devices.usable(devices.cards(os.environ)))


def encoders(settings: Settings, home: Home, note: Callable[[str], None], only: str | None = None) -> dict[str, Model]:
    """The models for documents, by the slot of their device (`only` this one), each in a process of its own.

    Loading begins here.
    """
    if settings.embed.endpoint is not None:
        from penstock.flows.runs import endpoint_terms
        from penstock.flows.runs.endpoint import Endpoint

        cache = partial(vector_cache, settings, home, note)
        return {endpoint_terms.slot(settings): Endpoint(settings, home, note=note, cache=cache)}
    from penstock.embed.worker.process import WorkerEncoder
    from penstock.embed.worker.types import Patience

    found = devices_of(settings)
    specs = {slot: _spec(settings, device, home) for slot, device in found.items() if only in (None, slot)}
    patience = Patience.hanging(settings.embed.hang_seconds)
    return {
        slot: WorkerEncoder(spec, clock=time.monotonic, note=note, patience=patience) for slot, spec in specs.items()
    }


def _spec(settings: Settings, device: str | None, home: Home | None) -> EncoderSpec:
    from penstock.embed.types import EncoderSpec

    return EncoderSpec(
        settings.embed.model,
        device=device,
        threads=settings.embed.threads,
        dtype=settings.embed.dtype,
        truncate_dim=settings.embed.truncate_dim,
        query_prompt=settings.embed.query_prompt,
        document_prompt=settings.embed.document_prompt,
        remember="" if home is None else str(home.cache / "engine"),
    )


def vector_cache(settings: Settings, home: Home, note: Callable[[str], None]) -> Cache:
    """Vectors by text, in the home's cache."""
    from penstock.embed.cache import NoCache, VectorCache

    if not settings.cache.max_mb:
        return NoCache()
    return VectorCache(home.cache / "vectors.db", settings.cache.max_mb << 20, clock=wiring.clock, note=note)


def gate(settings: Settings, head: Manifest, note: Callable[[str], None]) -> Gate:
    """What models must show before their vectors may join the index, and what is said of those that did."""
    from penstock.embed.quality import canaries
    from penstock.flows.runs.gate import Gate

    def prepare(name: str) -> canaries.Prepared:
        return canaries.prepared(name, document_tokenizer(settings), chunking(settings)[0])

    return Gate(head.spaces.get(head.live), prepare, note)
