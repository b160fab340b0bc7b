"""What decides whether two vectors of endpoints may be compared, and whose tokens are counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from penstock.embed import models
from penstock.embed.models import Model, UnknownModel
from penstock.embed.remote.estimate import VERSION, EstimatingTokenizer
from penstock.embed.remote.types import Terms
from penstock.embed.tokenize import Tokenizer, document_tokenizer

KIND = "openai-embeddings"


def identity(terms: Terms, revision: str = "") -> dict[str, str]:
    """Keys, all stable: `endpoint` (the kind of API), `model` (as the endpoint calls it), `revision` (as somebody
    pinned it), `dimensions` (as asked for; "" for the model's own), `normalize`, `query_prompt`, `document_prompt`.

    Not the address: the same model may be served elsewhere. That it really is the same is for the canary texts to say.
    """
    return {
        "endpoint": KIND,
        "model": terms.model,
        "revision": revision,
        "dimensions": "" if terms.dimensions is None else str(terms.dimensions),
        "normalize": "l2",
        "query_prompt": terms.query_prompt,
        "document_prompt": terms.document_prompt,
    }


def tokenizers(name: str | None, terms: Terms) -> tuple[Counter, Counter]:
    """For documents and for queries: the model's own from the directory or model `name`, or an estimate for None.

    Raises `UnknownModel`.
    """
    prompts = (terms.document_prompt, terms.query_prompt)
    if name is None:
        made = [EstimatingTokenizer(max_tokens=terms.max_text_tokens, prompt=prompt) for prompt in prompts]
        return made[0], made[1]
    folder = _folder(name)
    exact = [
        document_tokenizer(Model(name, folder, terms.max_text_tokens, 0, "", document_prompt=prompt))
        for prompt in prompts
    ]
    return exact[0], exact[1]


def tokenizer_identity(name: str | None) -> str:
    """Which tokens chunks are measured in: part of a space's identity, and none of a vector's. Raises
    `UnknownModel`."""
    if name is None:
        return VERSION
    return hashlib.sha256((_folder(name) / "tokenizer.json").read_bytes()).hexdigest()


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    folder = path if path.is_dir() else models.resolve(name).path
    if not (folder / "tokenizer.json").is_file():
        raise UnknownModel(
            f"[embed.endpoint] tokenizer = {name!r}: {folder} has no tokenizer.json; give a folder that has one, or "
            "leave it out: then tokens are estimated"
        )
    return folder


Counter = Tokenizer | EstimatingTokenizer
