"""Where a bucket is: the source's URL taken apart, and the URL that its server knows it by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._/-]*)?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
SCHEMES = ("s3", "gs", "az")


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """`prefix` is empty or ends with a slash. `endpoint` is never empty for `s3`."""

    scheme: str
    bucket: str
    prefix: str
    endpoint: str
    region: str
    virtual_hosted: bool

    @property
    def name(self) -> str:
        """For people: `scheme://bucket/prefix`."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def bucket_url(self) -> str:
        """What S3 requests for this bucket begin with."""
        if not self.virtual_hosted:
            return f"{self.endpoint}/{self.bucket}"
        scheme, _, rest = self.endpoint.partition("://")
        return f"{scheme}://{self.bucket}.{rest}"

    def object_url(self, key: str) -> str:
        """An object's S3 URL, for keys that the client would not take as they are."""
        return f"{self.bucket_url}/{quote(key, safe='/~', errors='surrogateescape')}"


def parse(url: str, endpoint: str, region: str, *, virtual_hosted: bool, allow_http: bool) -> ObjectPlace:
    """Take `scheme://bucket/prefix` apart. Raises `ValueError` in one line; it never repeats a password."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError("url: write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise ValueError("url: credentials do not belong in a URL, where they are logged; set access_key, secret_key")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"url: names no bucket; write {scheme}://bucket/prefix")
    prefix = prefix.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ValueError("url: a prefix is made of names with single slashes between them")
    if endpoint and scheme != "s3":
        raise ValueError("endpoint: only s3 has one; leave it out")
    return ObjectPlace(
        scheme=scheme,
        bucket=bucket,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=_endpoint(endpoint, region, allow_http=allow_http) if scheme == "s3" else "",
        region=region,
        virtual_hosted=virtual_hosted,
    )


def _endpoint(endpoint: str, region: str, *, allow_http: bool) -> str:
    if not _REGION.fullmatch(region):
        raise ValueError("region: write it like us-east-1")
    if not endpoint:
        return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    if not _ENDPOINT.fullmatch(endpoint) or not urlsplit(endpoint).hostname:
        raise ValueError("endpoint: write http(s)://host:port, credentials apart")
    if endpoint.startswith("http://") and not allow_http:
        raise ValueError("endpoint: http:// encrypts nothing; write https://, or set allow_http = true")
    return endpoint.rstrip("/")
