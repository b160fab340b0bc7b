"""`[embed.endpoint]`: an encoder elsewhere, its limits and its price."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from penstock.connectors.connector import Secret
from penstock.connectors.http.addresses import Allowance
from penstock.flows.config.keys import SettingsError, typed
from penstock.flows.config.periods import LONGEST

AtLeastOne = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]
PREFIX = "embed.endpoint"
REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|block:[a-z0-9-]+")
_SECRET = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint that speaks OpenAI's `/v1/embeddings`. None: not limited, not known, or the model's own.

    `url`: up to `/v1`. `key`: `${VARIABLE}` or `block:NAME`, sent as a bearer token; `headers`: further ones, with
    secrets as in `key`. `tokenizer`: a folder with tokenizer.json, or a model's name; None: tokens are estimated.
    `revision`: a name of your own for this state of the model, part of the space's identity. `allow` and `ca_file` as
    of a source's network. `seconds`: for one request. `patience`: for one that throttles or is down.
    """

    url: str
    key: Secret | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    revision: str = ""
    dimensions: AtLeastOne | None = None
    normalize: bool = False
    encoding: Literal["float", "base64"] = "float"
    tokenizer: str | None = None
    max_items: AtLeastOne = 32
    max_request_tokens: AtLeastOne = 16_384
    max_text_tokens: AtLeastOne | None = None
    requests_per_minute: Seconds | None = None
    tokens_per_minute: AtLeastOne | None = None
    concurrency: AtLeastOne = 8
    price_per_million_tokens: Annotated[float, Meta(ge=0)] | None = None
    max_tokens_per_run: AtLeastOne | None = None
    max_tokens_per_day: AtLeastOne | None = None
    seconds: Seconds = 60.0
    attempts: AtLeastOne = 6
    patience: Annotated[float, Meta(ge=0, le=LONGEST)] = 300.0
    query_seconds: Seconds = 10.0
    allow: tuple[str, ...] = ()
    ca_file: str | None = None


def checked(raw: Any, folder: Path, where: str) -> dict[str, Any]:
    """The table as it was written, with paths taken from `folder`. Raises `SettingsError`, one line: file, key, fix."""
    said = typed(raw, EndpointSettings, where, PREFIX)
    _check_url(said, where)
    try:
        Allowance(said.allow)
    except ValueError as wrong:
        raise SettingsError(f"{where}: {PREFIX}.{str(wrong).removeprefix('network.')}") from None
    for name, value in said.headers.items():
        if _SECRET.search(name) and not REFERENCE.fullmatch(value):
            raise SettingsError(
                f"{where}: {PREFIX}.headers.{name} looks like a secret, and none belongs in the file: "
                "write ${VARIABLE} or block:NAME in its place, and set that"
            )
    most, each = said.max_request_tokens, said.max_text_tokens
    if each is not None and each > most:
        raise SettingsError(
            f"{where}: {PREFIX}.max_text_tokens = {each} is more than max_request_tokens = {most}: no request could "
            f"hold such a text; set max_request_tokens to {each} or more"
        )
    if said.tokens_per_minute is not None and most > said.tokens_per_minute:
        raise SettingsError(
            f"{where}: {PREFIX}.max_request_tokens = {most} is more than tokens_per_minute = {said.tokens_per_minute}; "
            f"set it to {max(1, said.tokens_per_minute // 8)}, so that requests fit into the minute"
        )
    anchored = {**raw}
    if said.ca_file:
        anchored["ca_file"] = str(folder / Path(said.ca_file).expanduser())
    if said.tokenizer and (found := folder / Path(said.tokenizer).expanduser()).is_dir():
        anchored["tokenizer"] = str(found)
    return anchored


def _check_url(said: EndpointSettings, where: str) -> None:
    try:
        parts = urlsplit(said.url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        well = False
    if not well:
        raise SettingsError(f"{where}: {PREFIX}.url is no http address; write such as https://api.example.com/v1")
    if parts.username or parts.password:
        raise SettingsError(
            f"{where}: {PREFIX}.url has a user or password in it; leave them out, and name the key in {PREFIX}.key"
        )
    secret = said.key is not None or any(REFERENCE.fullmatch(value) for value in said.headers.values())
    if parts.scheme == "http" and secret and not said.allow:
        raise SettingsError(
            f"{where}: {PREFIX}.url is http, and the key would travel in clear; use https, or name a host of your own "
            f"network in {PREFIX}.allow"
        )
