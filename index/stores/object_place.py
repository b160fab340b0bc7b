"""Where an object store is: its URL taken apart, and the endpoint and region that the environment names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.index.errors import WrongIndex
from penstock.index.stores import object_faults
from penstock.index.stores.store import checked

SCHEMES = ("s3", "gs", "az")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._/-]*)?")


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """`endpoint` is empty for the provider's own; credentials are never part of a place."""

    scheme: str
    bucket: str
    prefix: str
    endpoint: str
    region: str

    @property
    def name(self) -> str:
        """The URL, as it was given."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse(url: str, environ: Mapping[str, str]) -> ObjectPlace:
    """Take `scheme://bucket/prefix` apart. Raises `WrongIndex` with one line; it never repeats a secret."""
    scheme, _, rest = url.partition("://")
    plain = f"{scheme}://"
    if "@" in rest:
        raise WrongIndex(
            f"{plain}…: credentials do not belong in a URL, where they are logged; set them in the environment"
        )
    if "?" in rest or "#" in rest:
        raise WrongIndex(f"{plain}…: a store's URL has no ? and no #; settings come from the environment")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise WrongIndex(f"{url[:200]!r}: names no bucket; write {plain}bucket/prefix")
    try:
        _ = prefix and checked(prefix)
    except ValueError:
        raise WrongIndex(f"{url[:200]!r}: a prefix is made of letters, digits, _ . - and single slashes") from None
    endpoint, region = "", ""
    if scheme == "s3":
        endpoint = _endpoint(environ)
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return ObjectPlace(scheme, bucket, prefix, endpoint, region)


def _endpoint(environ: Mapping[str, str]) -> str:
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := environ.get(variable, "").rstrip("/"):
            if not _ENDPOINT.fullmatch(value):
                raise WrongIndex(f"{variable} is no URL of a server; write http(s)://host:port, credentials apart")
            return value
    return ""


def client_config(place: ObjectPlace, environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What an S3 client is told beyond what it reads itself, and a line if something is lacking, else empty."""
    if place.scheme != "s3":
        return {}, ""
    config: dict[str, Any] = {"region": place.region, "disable_bulk_delete": True}
    if place.endpoint:
        config["aws_endpoint_url_s3"] = place.endpoint
    names = {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_access_key"}
    given = {inner: environ[name] for name, inner in names.items() if environ.get(name)}
    if given and environ.get("AWS_SESSION_TOKEN"):
        given["session_token"] = environ["AWS_SESSION_TOKEN"]
    # Without keys the client would ask the provider's machines, which no other endpoint has.
    elsewhere = ("AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    keyless = not place.endpoint or any(environ.get(name) for name in elsewhere)
    wanting = len(given) == 1 or (not given and not keyless)
    return {**config, **given}, f"has no credentials; set {object_faults.credentials(place.name)}" if wanting else ""
