"""A bucket as a source: S3 and what speaks it, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from penstock.connectors.connector import Connector, Secret, SourceOptions, Tools
from penstock.connectors.sources.globs import Globs
from penstock.connectors.sources.object_client import ObjectClient
from penstock.connectors.sources.object_faults import Changed, PastTheEnd
from penstock.connectors.sources.object_place import ObjectPlace, parse
from penstock.connectors.sources.quoting import quoted, shown, unquoted
from penstock.connectors.sources.s3_listing import Listed
from penstock.connectors.types import Fetched, Gap, Item, RejectItem, RetryLater

_LOOKS = 4
_MD5 = re.compile(r"[0-9a-f]{32}")


class ObjectsOptions(SourceOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sources.NAME]` of type `objects`. Patterns are those of `globs`, and match what follows the prefix.

    `secret_key` is S3's secret access key, an Azure account's key, or a Google service account's JSON. Without keys
    the environment and the machine's own role are asked, as the provider's tools do.
    """

    url: str
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    account: str = ""
    anonymous: bool = False
    virtual_hosted: bool = False
    allow_http: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    page_size: Annotated[int, Meta(ge=1, le=1000)] = 1000

    def place(self) -> ObjectPlace:
        return parse(
            self.url, self.endpoint, self.region, virtual_hosted=self.virtual_hosted, allow_http=self.allow_http
        )

    def binding(self) -> str:
        return f"{self.place().bucket_url}/{self.place().prefix}" if self.endpoint else self.place().name

    def anchored(self, folder: Path) -> ObjectsOptions:
        place = self.place()
        Globs(self.include, self.exclude)
        if place.scheme == "s3" and (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key: set it and secret_key, or neither")
        if self.anonymous and self.secret_key:
            raise ValueError("anonymous: leave it out, or the keys")
        if place.scheme != "s3" and (self.access_key or self.session_token):
            raise ValueError("access_key: only s3 has one; set secret_key")
        if self.account and place.scheme != "az":
            raise ValueError("account: only az has one; leave it out")
        return self

    def config(self, tools: Tools) -> dict[str, Any]:
        """The credentials, in the words of the client library."""
        if self.anonymous:
            return {"skip_signature": True, **({"account_name": self.account} if self.account else {})}
        names = {
            "s3": {
                "access_key_id": self.access_key,
                "secret_access_key": self.secret_key,
                "session_token": self.session_token,
            },
            "gs": {"service_account_key": self.secret_key},
            "az": {"account_key": self.secret_key},
        }[self.place().scheme]
        found = {name: tools.secret(written) for name, written in names.items() if written}
        return {**found, "account_name": self.account} if self.account else found


class ObjectsSource:
    """Every object below the prefix. A uri is `NAME/` and the key behind the prefix.

    A listing goes by keys, so it cannot shift: an object that is there all the time is listed, whatever comes and
    goes beside it. The version token is the etag and the size; a version id is no part of it, since listings do not
    give it. Empty objects whose key ends in a slash are markers of folders and are not listed.
    """

    def __init__(self, name: str, options: ObjectsOptions, tools: Tools) -> None:
        self.name = name
        self._place = options.place()
        self._globs = Globs(options.include, options.exclude)
        self._tools = tools
        self._etag_is_digest = True
        self._client = ObjectClient(
            self._place,
            lambda: options.config(tools),
            budget=tools.budget,
            clock=tools.clock,
            sleep=tools.sleep,
            page_size=options.page_size,
        )

    def list(self) -> Iterator[Item | Gap]:
        """Items in the order of their keys, a page at a time. Raises `StopSource`, `RetryLater`."""
        for page in self._client.pages():
            for found in page:
                entry = self._entry(found) if isinstance(found, Listed) else Gap(f"{self.name}/", found.reason)
                if entry is not None:
                    yield entry

    def _entry(self, found: Listed) -> Item | Gap | None:
        if not found.key.startswith(self._place.prefix) or found.key == self._place.prefix:
            return None
        path = found.key[len(self._place.prefix) :]
        if (path.endswith("/") and not found.size) or not self._globs.wants_file(shown(path)):
            return None
        uri = f"{self.name}/{shown(path).replace(chr(0), '%00')}"
        if why := _unreachable(found.key):
            return Gap(uri, f"{why}: rename the object")
        return Item(
            uri=uri,
            locator=quoted(path),
            version=token(found.etag, found.size, found.modified),
            size=found.size,
            modified=found.modified,
        )

    def fetch(self, item: Item) -> Fetched:
        """The object as it is now, in a file of its own; its token comes from the same answer as its bytes."""
        path = unquoted(item.locator)
        key = self._place.prefix + path
        target = self._tools.scratch / f"{self._tools.token()}.part"
        try:
            version, retries = self._settled(item, key, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return Fetched(
            path=target,
            name=_file_name(path),
            version=version,
            temporary=True,
            url=f"{self._place.scheme}://{self._place.bucket}/{shown(key)}",
            metadata={"key": shown(key)},
            retries=retries,
        )

    def _settled(self, item: Item, key: str, target: Path) -> tuple[str, int]:
        """Download until it is one object from its first byte to its last."""
        before = ""
        for _ in range(_LOOKS):
            try:
                version, etag, digest, retries = self._download(item, key, target)
            except (Changed, PastTheEnd):
                continue
            # An etag in the form of an MD5 is one, unless the server encrypts with keys of its own: then reading
            # the same again says so.
            if not self._etag_is_digest or not _MD5.fullmatch(etag) or digest == etag:
                return version, retries
            if digest == before:
                self._etag_is_digest = False
                return version, retries
            before = digest
        if before:
            raise RetryLater(f"its bytes are not those of its etag: {item.uri}", reason="garbled")
        raise RetryLater(f"changed each time while it was read: {item.uri}", reason="changing")

    def _download(self, item: Item, key: str, target: Path) -> tuple[str, str, str, int]:
        digest, retries = hashlib.md5(usedforsecurity=False), 0
        first = None
        with target.open("wb") as file:
            at, size = 0, 1
            while at < size:
                part, tries = self._client.part(key, at, first.etag if first else "")
                first, retries = first or part, retries + tries
                if (part.etag, part.size, part.modified) != (first.etag, first.size, first.modified):
                    raise Changed(key)
                if part.size > self._tools.max_bytes:
                    said = f"{part.size} bytes are more than the limit ({self._tools.max_bytes}): {item.uri}"
                    raise RejectItem(said, reason="too_large")
                file.write(part.data)
                digest.update(part.data)
                at, size = at + len(part.data), part.size
        assert first is not None
        version = token(first.etag, first.size, first.modified)
        return version, _plain(first.etag), digest.hexdigest(), retries


def token(etag: str, size: int, modified: float | None) -> str:
    """The version token: from the etag, else from the time of the last change in whole seconds (answers to GET have
    no finer ones)."""
    plain = _plain(etag)
    if not plain and modified is not None:
        plain = datetime.fromtimestamp(int(modified), UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{plain or 'unknown'}-{size}"


def _plain(etag: str) -> str:
    """Without the quotes and the mark of weakness, which listings and answers write differently."""
    return etag.removeprefix("W/").strip('"')


def _unreachable(key: str) -> str:
    """Why this object cannot be asked for, "" if it can."""
    if any(part in (".", "..") for part in key.split("/")):
        return "a URL cannot hold . or .. as a name"
    if "\0" in key:
        return "the key holds a zero byte"
    try:
        key.encode()
    except UnicodeEncodeError:
        return "the key is no UTF-8"
    return ""


def _file_name(path: str) -> str:
    last = path.rstrip("/").rsplit("/", 1)[-1].replace("\0", "")
    return last if last not in ("", ".", "..") else "object"


class _Objects:
    name = "objects"
    version = "objects/1"
    options: type[SourceOptions] = ObjectsOptions

    def open(self, name: str, options: ObjectsOptions, tools: Tools) -> ObjectsSource:
        return ObjectsSource(name, options, tools)


CONNECTOR: Connector = _Objects()
