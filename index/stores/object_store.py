"""The one door to obstore: a bucket, or a prefix of one, that keeps the contract of every store.

Putting sends one PUT with `If-None-Match: *`, so a value has at most 5 GiB. Whatever fails is tried again
here and not in the client, because only here is it known which answers are certain. Each put carries a mark
of its own in the object's metadata: after a lost reply, a 409 or a 412 the object is looked at, and whose
mark it bears says who won.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from penstock.index.errors import IndexFault, NoSpace, Unavailable
from penstock.index.stores import object_faults
from penstock.index.stores.object_place import ObjectPlace, client_config
from penstock.index.stores.patience import Patience
from penstock.index.stores.store import checked, is_key

LARGEST = 5 << 30
"""What S3 takes in one PUT. More needs a multipart upload, and few servers can make that conditional."""
_PIECE = 8 << 20
"""Bytes asked for in one request."""
_MAPPED = 32 << 20
"""Files beyond this are mapped and not read: the client sends straight from the map."""
_SLOWEST = 256 << 10
"""Bytes per second: an upload that is slower has failed."""
_ANSWER = 6.0
"""Seconds that a server has for its answer to a put."""
_SILENCE = 5.0
"""Seconds without a byte after which a server that is read from counts as dead."""
_PAGE = 1000
_MARK = "writer"
_TMP = "tmp"
T = TypeVar("T")
_Client = S3Store | GCSStore | AzureStore


class ObjectStore:
    """A bucket or a prefix of it: `s3://`; `gs://` and `az://` by the same door, untested.

    Credentials come from the environment alone. A server that is gone or hangs costs at most about eight
    seconds, and then is `Unavailable`; a large upload gets time for its size. A file that is put must not
    change meanwhile. There is no local path. One store may be shared by threads.
    """

    remote = True
    """What it promises depends on somebody's server: see `analyze.refuse_liar`."""

    def __init__(
        self,
        place: ObjectPlace,
        *,
        token: Callable[[], str],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        environ: Mapping[str, str],
    ) -> None:
        """`clock` counts seconds and never goes back; `token` gives unique names. Nothing is sent yet."""
        self.name = place.name
        self.domain = f"bucket {place.bucket} at {place.endpoint or place.scheme}"
        self._place, self._token, self._clock, self._sleep = place, token, clock, sleep
        self._config, self._wanting = client_config(place, environ)
        self._writers: dict[int, _Client] = {}

    def __repr__(self) -> str:
        return f"ObjectStore({self.name!r})"

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if checked(key).split("/", 1)[0] == _TMP:
            raise ValueError(f"keys below {_TMP}/ belong to the store: {key!r}")
        with _opened(data) as body:
            if len(body) > LARGEST:
                raise Unavailable(f"{self.name}/{key}: {len(body)} bytes are more than one put may have ({LARGEST})")
            return self._put(key, body)

    def get(self, key: str) -> bytes:
        first, size = self._part(checked(key), 0, _PIECE)
        if len(first) == size:
            return first
        whole = first + self.get_range(key, len(first), size)
        if len(whole) != size:
            raise Unavailable(f"{self.name}/{key}: changed while it was read; run again")
        return whole

    def get_range(self, key: str, start: int, end: int) -> bytes:
        checked(key)
        if start < 0:
            raise ValueError(f"a range starts at 0 or later, not at {start}")
        if start >= end:
            if self.size(key) is None:
                raise object_faults.missing(self.name, key)
            return b""
        pieces = []
        for at in range(start, end, _PIECE):
            pieces.append(self._part(key, at, min(end, at + _PIECE))[0])
            if len(pieces[-1]) < _PIECE:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, key: str) -> int | None:
        checked(key)
        with contextlib.suppress(FileNotFoundError):
            return self._repeated("read", key, lambda: int(obstore.head(self._reader, key)["size"]))
        # A HEAD's 404 has no body and cannot say whether the bucket is there. A GET's can.
        with contextlib.suppress(FileNotFoundError):
            return self._repeated("read", key, lambda: int(obstore.get(self._reader, key).meta["size"]))
        return None

    def list(self, prefix: str) -> Iterator[str]:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a prefix ends with a slash: {prefix!r}")
        _ = prefix and checked(prefix[:-1])
        pages = self._pages(prefix)
        first = next(pages, [])  # now: a store that is gone says so before anybody iterates
        return self._keys(prefix, chain([first], pages))

    def delete(self, key: str) -> None:
        checked(key)
        with contextlib.suppress(FileNotFoundError):
            self._repeated("delete in", key, lambda: obstore.delete(self._reader, key))

    def local_path(self, key: str) -> Path | None:
        checked(key)
        return None

    def probe(self) -> None:
        key = f"{_TMP}/{checked(self._token())}"
        self._put(key, b"probe")
        self.delete(key)

    def _put(self, key: str, body: Any) -> bool:
        """Send until it is known whose value is there, the time is up, or the store says no."""
        mark, patience = checked(self._token()), Patience(self._clock, self._sleep)
        while True:
            try:
                # What takes long to send is looked for first: it may be there, and the server may be gone.
                holder = self._holder(key) if len(body) > _PIECE else None
                if holder is None:
                    self._send(key, body, mark)
                    return True
            except AlreadyExistsError:
                # 412, or 409: somebody is at it, perhaps this very put whose reply was lost. Look.
                holder = self._holder(key)
                fault = Unavailable(f"{self.name}/{key}: the store sees a conflict where nothing is; run again")
            except (object_faults.Refused, NoSpace):
                raise
            except Unavailable as failed:
                holder, fault = None, failed
            if holder is not None:
                return self._is_mine(key, body, holder, mark, doubtful=patience.turn > 0)
            patience.wait(fault)

    def _send(self, key: str, body: Any, mark: str) -> None:
        with self._faults("write to", key, AlreadyExistsError):
            client = self._writer(len(body))
            obstore.put(client, key, body, mode="create", use_multipart=False, attributes={_MARK: mark})

    def _holder(self, key: str) -> tuple[int, str] | None:
        """Size and mark of the value under the key, None when there is none."""

        def look() -> tuple[int, str]:
            found = obstore.get(self._reader, key, options={"head": True})
            return int(found.meta["size"]), str(found.attributes.get(_MARK, ""))

        with contextlib.suppress(FileNotFoundError):
            return self._repeated("read", key, look)
        return None

    def _is_mine(self, key: str, body: Any, holder: tuple[int, str], mark: str, *, doubtful: bool) -> bool:
        """Whether the value that is there is the one that was sent under this mark, every byte of it.

        `doubtful`: an earlier attempt may have landed.
        """
        size, theirs = holder
        if theirs != mark and (theirs or not doubtful):
            return False
        same = size == len(body) and all(
            self._part(key, at, at + _PIECE)[0] == bytes(body[at : at + _PIECE]) for at in range(0, size, _PIECE)
        )
        if theirs and not same:
            raise Unavailable(f"{self.name}/{key}: holds other bytes than were sent; delete it and run again")
        return same  # a server that keeps no metadata, and a reply that was lost: the bytes decide

    def _part(self, key: str, start: int, end: int) -> tuple[bytes, int]:
        """Bytes [start, end), fewer at the value's end, and the whole value's size if there are any.

        A part's answer says of how many bytes it is a part, so one that was shortened on its way is seen.
        """

        def part() -> tuple[bytes, int]:
            try:
                found = obstore.get(self._reader, key, options={"range": (start, end)})
            except BaseError as fault:
                if object_faults.past_the_end(fault):
                    return b"", 0
                raise
            data, size = bytes(found.bytes()), int(found.meta["size"])
            if tuple(found.range) != (start, min(end, size)) or len(data) != min(end, size) - start:
                raise Unavailable(f"{self.name}/{key}: answers with other bytes than were asked for; run again")
            return data, size

        return self._repeated("read", key, part)

    def _pages(self, prefix: str) -> Iterator[Sequence[str]]:
        """Yield the names below the prefix, many at a time; a stream that breaks is begun again after the last."""
        last: str | None = None
        stream: Any = None

        def page() -> list[str] | None:
            nonlocal stream
            fresh, stream = stream, None
            fresh = fresh or obstore.list(self._reader, prefix or None, offset=last, chunk_size=_PAGE)
            found = next(fresh, None)
            stream = fresh
            return None if not found else [str(meta["path"]) for meta in found]

        while names := self._repeated("list", "", page):
            last = names[-1]
            yield names

    def _keys(self, prefix: str, pages: Iterator[Sequence[str]]) -> Iterator[str]:
        last = ""
        for key in chain.from_iterable(pages):
            if not is_key(key) or key == last or (not prefix and key.startswith(f"{_TMP}/")):
                continue  # names that are no keys are somebody else's
            if key < last:
                raise Unavailable(f"{self.name}: lists keys out of order; it cannot keep a replica")
            last = key
            yield key

    def _repeated(self, doing: str, key: str, work: Callable[[], T]) -> T:
        """Do what may be done again until it succeeds, the time is up, or the store says no."""
        patience = Patience(self._clock, self._sleep)
        while True:
            try:
                with self._faults(doing, key):
                    return work()
            except (object_faults.Refused, NoSpace):
                raise
            except Unavailable as fault:
                patience.wait(fault)

    @cached_property
    def _reader(self) -> _Client:
        silence = timedelta(seconds=_SILENCE)
        return self._client({"timeout": timedelta(seconds=_ANSWER + _PIECE / _SLOWEST), "read_timeout": silence})

    def _writer(self, size: int) -> _Client:
        """A client that gives an upload of this size its time."""
        most = max(_SLOWEST, 1 << max(0, size - 1).bit_length())
        if most not in self._writers:
            seconds = _ANSWER + most / _SLOWEST
            self._writers[most] = self._client({"timeout": timedelta(seconds=seconds)})
        return self._writers[most]

    def _client(self, times: dict[str, timedelta]) -> _Client:
        kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[self._place.scheme]
        client: _Client = kind(
            self._place.bucket,
            prefix=self._place.prefix or None,
            config=self._config,
            client_options={
                "allow_http": self._place.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=3),
                **times,
            },
            retry_config={"max_retries": 0},
        )
        return client

    @contextlib.contextmanager
    def _faults(self, doing: str, key: str, *passing: type[Exception]) -> Iterator[None]:
        """Say what the client raises in our words. Its own are dropped: they may quote what was signed."""
        try:
            if self._wanting:
                raise object_faults.Refused(f"{self.name}: {self._wanting}")
            yield
        except IndexFault:
            raise
        except FileNotFoundError as fault:
            raise object_faults.missing(self.name, key, fault) from None
        except BaseException as fault:
            if isinstance(fault, (*passing, KeyboardInterrupt, SystemExit, GeneratorExit)):
                raise
            raise object_faults.said(self.name, doing, fault) from None


@contextlib.contextmanager
def _opened(data: bytes | Path) -> Iterator[Any]:
    """The bytes to send: themselves, a small file's, or a large file's as a map."""
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        if data.stat().st_size <= _MAPPED:
            yield file.read()
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
