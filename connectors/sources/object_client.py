"""The door to obstore for sources: one bucket's listing in pages, and parts of its objects.

Each request has its permit, its deadlines and its attempts here, and not in the library, whose own retries no budget
would see. Listings of S3 are asked for as bytes (see `s3_listing`): the library signs a request for any URL that is
given it as an endpoint, and what it appends to that stands behind a `#` and is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from penstock.connectors.http.types import Budget, Outcome
from penstock.connectors.sources import object_faults, s3_listing
from penstock.connectors.sources.object_place import ObjectPlace
from penstock.connectors.sources.s3_listing import Listed
from penstock.connectors.types import Gap, RetryLater

PIECE = 8 << 20
"""Bytes asked for in one request."""
ATTEMPTS = 5
PATIENCE = 120.0
"""Seconds: no attempt at a request is begun later than that after the first."""
SILENCE = 30.0
"""Seconds without a byte after which an answer has failed."""
_SLOWEST = 64 << 10
"""Bytes per second: a download that is slower has failed."""
_LARGEST_PAGE = 32 << 20
"""Bytes: a thousand keys of the longest kind, in XML that escapes every character, are ten million."""
_ODD = re.compile(r"[\x00-\x1f\x7f]|//|\A/|/\Z")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an object, and of which object: its size, etag ("" without) and time at the moment it was read."""

    data: bytes
    size: int
    etag: str
    modified: float


class ObjectClient:
    """One bucket. Thread-safe. Raises what `Source` may raise, and `Changed` from `object_faults`."""

    def __init__(
        self,
        place: ObjectPlace,
        config: Callable[[], Mapping[str, Any]],
        *,
        budget: Budget | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        page_size: int,
    ) -> None:
        """`config` gives the credentials in the library's words; it is called before the first request."""
        self._place, self._config, self._budget = place, config, budget
        self._clock, self._sleep, self._page_size = clock, sleep, page_size
        self._kept: Any = None

    def pages(self) -> Iterator[tuple[Listed | Gap, ...]]:
        """Everything below the prefix, a page at a time; a `Gap`, without a prefix, if the rest cannot be listed."""
        if self._place.scheme != "s3":
            yield from self._streamed()
            return
        after: dict[str, str] | None = {}
        while after is not None:
            page, _ = self._asked("", partial(self._page, after))
            if page.after == after:
                raise RetryLater(f"{self._place.name}: the listing goes round in circles", reason="garbled")
            yield page.found
            after = page.after

    def part(self, key: str, start: int, etag: str = "") -> tuple[Part, int]:
        """Up to `PIECE` bytes from `start` on, and how often it was tried again. With `etag`, of that object alone:
        else `Changed` is raised, as it is when the object ends before `start`."""
        return self._asked(key, partial(self._part, key, start, etag))

    def _page(self, after: dict[str, str]) -> s3_listing.Page:
        asked = s3_listing.query(self._place.prefix, self._page_size, after)
        found = obstore.get(self._at(f"{self._place.bucket_url}?{asked}#"), "page")
        return s3_listing.page_of(_bounded(found, _LARGEST_PAGE))

    def _part(self, key: str, start: int, etag: str) -> Part:
        odd = self._place.scheme == "s3" and _ODD.search(key)
        store, path = (self._at(f"{self._place.object_url(key)}#"), "object") if odd else (self._store(), key)
        options: Any = {"range": (start, start + PIECE)}
        if etag and not etag.startswith("W/"):
            options["if_match"] = etag
        try:
            found = obstore.get(store, path, options=options)
        except obstore.exceptions.BaseError as fault:
            if start or not isinstance(object_faults.said("", key, fault).error, object_faults.PastTheEnd):
                raise
            found = obstore.get(store, path)  # an empty object has no range
        size = int(found.meta["size"])
        end = min(start + PIECE, size)
        if tuple(found.range) != (start, end):
            raise object_faults.Changed(key)
        data = _bounded(found, end - start)
        if len(data) != end - start:
            raise s3_listing.Garbled("fewer bytes came than were announced")
        return Part(data, size, str(found.meta["e_tag"] or ""), found.meta["last_modified"].timestamp())

    def _streamed(self) -> Iterator[tuple[Listed | Gap, ...]]:
        """The library's own listing, for clouds that are not S3. It is begun again after the last key."""
        last: str | None = None
        stream: Any = None

        def page() -> list[Listed]:
            nonlocal stream
            fresh, stream = stream, None
            prefix = self._place.prefix.rstrip("/") or None
            fresh = fresh or obstore.list(self._store(), prefix, offset=last, chunk_size=self._page_size)
            found = next(fresh, None) or []
            stream = fresh
            return [
                Listed(str(m["path"]), int(m["size"]), str(m["e_tag"] or ""), m["last_modified"].timestamp())
                for m in found
            ]

        try:
            while found := self._asked("", page)[0]:
                last = found[-1].key
                # Empty objects and the markers of folders look the same here.
                yield tuple(each for each in found if each.size)
        except object_faults.OddKey:
            yield (Gap("", "a key with //, control characters, . or .. as a name hides what follows: rename it"),)

    def _asked(self, key: str, work: Callable[[], T]) -> tuple[T, int]:
        """Do it until it succeeds, the attempts or the time are up, or trying again would not help."""
        began = self._clock()
        for turn in range(ATTEMPTS):
            done = self._once(key, work)
            if isinstance(done, tuple):
                return done[0], turn
            late = self._clock() - began > PATIENCE
            if isinstance(done.error, RetryLater):
                done.error.retries = turn
            if not done.again or late or turn == ATTEMPTS - 1:
                raise done.error
            self._sleep(0.5 * 2**turn)
        raise AssertionError("there is at least one attempt")

    def _once(self, key: str, work: Callable[[], T]) -> tuple[T] | object_faults.Said:
        """Its answer, or what went wrong as a value: raised here, it would carry the client's words as its context."""
        name = self._place.name
        if self._budget is None:
            return self._done(name, key, work)
        with self._budget.request() as permit:
            began = self._clock()
            done = self._done(name, key, work)
            verdict = "ok" if isinstance(done, tuple) else done.verdict
            permit.done(Outcome(verdict, max(0.0, self._clock() - began)))
            return done

    def _done(self, name: str, key: str, work: Callable[[], T]) -> tuple[T] | object_faults.Said:
        try:
            return (work(),)
        except s3_listing.Garbled as fault:
            said = RetryLater(f"{name}: {key[:200] + ': ' if key else ''}{fault}", reason="truncated")
            return object_faults.Said(said, "failed", again=True)
        except object_faults.Changed as fault:
            return object_faults.Said(fault)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as fault:
            return object_faults.said(name, key, fault)

    def _store(self) -> Any:
        if self._kept is None:
            self._kept = self._at(self._place.bucket_url)
        return self._kept

    def _at(self, url: str) -> Any:
        """A client for the bucket (S3: for whatever is at `url`)."""
        place = self._place
        times = {
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=SILENCE),
            "timeout": timedelta(seconds=SILENCE + PIECE / _SLOWEST),
        }
        common: dict[str, Any] = {"client_options": times, "retry_config": {"max_retries": 0}}
        config: Any = dict(self._config())
        if place.scheme == "gs":
            return GCSStore(place.bucket, config=config, **common)
        if place.scheme == "az":
            return AzureStore(place.bucket, config=config, **common)
        times["allow_http"] = place.endpoint.startswith("http://")  # type: ignore[assignment]
        config |= {"aws_endpoint_url_s3": url, "virtual_hosted_style_request": True, "region": place.region}
        return S3Store(place.bucket, config=config, **common)


def _bounded(found: Any, limit: int) -> bytes:
    """The body, whose length a server may give as it likes. Raises `Garbled` beyond `limit` bytes."""
    data = bytearray()
    for piece in found.stream(min_chunk_size=1 << 20):
        data += piece
        if len(data) > limit:
            raise s3_listing.Garbled(f"more than {limit} bytes came")
    return bytes(data)
