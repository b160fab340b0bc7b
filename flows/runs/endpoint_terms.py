"""What a configuration says of an endpoint, as other parts want it: terms, identity, tokenizers, price. Asks nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from penstock.embed.remote.types import Terms
from penstock.flows.config.endpoint import EndpointSettings
from penstock.flows.config.settings import Settings

if TYPE_CHECKING:
    from penstock.embed.remote.identity import Counter

LONG_TEXTS = 8191
"""What OpenAI's own models take; of any other model nothing is known, and 512 is what most of them take."""
CHUNK = 512


def said(settings: Settings) -> EndpointSettings:
    """The endpoint of a configuration that has one."""
    assert settings.embed.endpoint is not None
    return settings.embed.endpoint


def terms(settings: Settings) -> Terms:
    """What the endpoint is asked for."""
    end, model = said(settings), settings.embed.model
    texts = end.max_text_tokens or (LONG_TEXTS if model.startswith("text-embedding-") else 512)
    return Terms(
        model=model,
        dimensions=end.dimensions,
        normalize=end.normalize,
        encoding=end.encoding,
        max_items=end.max_items,
        max_request_tokens=end.max_request_tokens,
        max_text_tokens=min(texts, end.max_request_tokens),
        at_once=end.concurrency,
        query_prompt=settings.embed.query_prompt or "",
        document_prompt=settings.embed.document_prompt or "",
        exact=end.tokenizer is not None,
    )


def identity(settings: Settings) -> dict[str, str]:
    """What decides a text's vector. Equal to the encoder's `identity`; asks nobody."""
    from penstock.embed.remote import identity as identities

    return identities.identity(terms(settings), said(settings).revision)


def tokenizer(settings: Settings) -> Counter:
    """What documents are cut with. Raises `UnknownModel`."""
    from penstock.embed.remote import identity as identities

    return identities.tokenizers(said(settings).tokenizer, terms(settings))[0]


def tokenizer_identity(settings: Settings) -> str:
    """Which tokens chunks are measured in. Raises `UnknownModel`."""
    from penstock.embed.remote import identity as identities

    return identities.tokenizer_identity(said(settings).tokenizer)


def chunk_tokens(settings: Settings) -> int:
    """Tokens in a chunk where nobody says: what models are trained on, though endpoints take far longer texts."""
    return min(terms(settings).max_text_tokens, CHUNK)


def slot(settings: Settings) -> str:
    """The name of the slot, for this host: one run at a time, as the endpoint's budget is one."""
    return f"endpoint-{digest(address(said(settings).url))}"


def cost(settings: Settings, tokens: int) -> float | None:
    """What so many tokens cost, in the currency of the price; None where the model runs here or no price is known."""
    end = settings.embed.endpoint
    price = None if end is None else end.price_per_million_tokens
    return None if price is None else tokens * price / 1e6


def address(url: str) -> str:
    """Where embeddings are asked for: `url` and `/embeddings`, unless it says so itself; its query stays."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    path = path if path.endswith("/embeddings") else f"{path}/embeddings"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def digest(text: str) -> str:
    """32 bits in hex."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
