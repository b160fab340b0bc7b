"""Where runs of one home meet: whoever has a model loaded says so, whoever is more urgent asks for vectors.

Everything is a file in one folder of the home, complete the moment that it has its name, and locked for as long as its
process lives: the kernel tells who is dead, and what the dead left is removed by the next one that opens a counter.

    TOKEN.host      a run with a model: which one, and how urgent the run is
    TOKEN.ask       token ids of texts that want vectors
    TOKEN.claim     a host that has taken the ask of that token
    TOKEN.answer    the vectors, or why there are none

Nothing of it has to survive anything: a guest without an answer loads a model of its own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from penstock.embed.types import Refused, TokenIds

T = TypeVar("T", bound=msgspec.Struct)


class Card(msgspec.Struct, frozen=True):
    """Of a host or a guest. `model` digests all that decides what comes out; a lower `priority` is more urgent.

    `dim` and `provenance` are those of the encoder that a host has loaded.
    """

    model: str
    priority: int
    dim: int = 0
    provenance: dict[str, str] = {}


class Ask(msgspec.Struct, frozen=True):
    """Texts as token ids, one after the other: uint32, little-endian, so many for each."""

    model: str
    priority: int
    lengths: list[int]
    ids: bytes

    @classmethod
    def of(cls, card: Card, ids: Sequence[TokenIds]) -> Ask:
        """These texts, for a guest with this card."""
        flat = np.concatenate([np.asarray(each, dtype="<u4") for each in ids]) if len(ids) else np.empty(0, "<u4")
        return cls(card.model, card.priority, [len(each) for each in ids], flat.tobytes())

    def texts(self) -> list[TokenIds]:
        """The ids of each text. Raises ValueError where they do not add up."""
        flat = np.frombuffer(self.ids, dtype="<u4")
        if sum(self.lengths) != len(flat) or any(length < 0 for length in self.lengths):
            raise ValueError("the ids of an ask do not add up")
        return list(np.split(flat, np.cumsum(self.lengths)[:-1])) if self.lengths else []


class Answer(msgspec.Struct, frozen=True):
    """Of `host`. `vectors`: float32, little-endian, (len(positions), dim). `problem`: why there are none, or ""."""

    host: str
    problem: str = ""
    dim: int = 0
    provenance: dict[str, str] = {}
    positions: list[int] = []
    vectors: bytes = b""
    tokens: int = 0
    padded: int = 0
    refused: list[Refused] = []


class Held:
    """A file that shows that we live, until `close`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd
        self.token = path.stem

    def close(self) -> None:
        """Remove it. May be repeated."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
        self._fd = -1


class Counter:
    """The meeting place in `folder`, made when it is first needed. `token` makes names. Raises `OSError`."""

    def __init__(self, folder: Path, token: Callable[[], str]) -> None:
        self._folder, self._token = folder, token

    def host(self, card: Card) -> Held:
        """Say that a model is there, and clear away what the dead left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        return self._put(f"{self._token()}.host", card)

    def host_of(self, guest: Card) -> Card | None:
        """A living run that has the model that `guest` wants, and is less urgent."""
        for _, card in self._living(".host", Card):
            if card.model == guest.model and card.priority > guest.priority:
                return card
        return None

    def ask(self, ask: Ask) -> Held:
        """Leave an ask; closing it withdraws it."""
        return self._put(f"{self._token()}.ask", ask)

    def asks(self, host: Card) -> list[tuple[str, Ask]]:
        """(token, ask) of guests that live, are more urgent than `host`, want its model and are not answered."""
        found = [
            (path.stem, ask)
            for path, ask in self._living(".ask", Ask)
            if ask.model == host.model and ask.priority < host.priority and not self._file(path.stem, "answer").exists()
        ]
        return sorted(found, key=lambda pair: pair[1].priority)

    @contextmanager
    def claimed(self, token: str) -> Iterator[bool]:
        """Whether the ask is ours to answer; another host may be at it."""
        path = self._file(token, "claim")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            mine = _locked(fd) and not self._file(token, "answer").exists() and self._file(token, "ask").exists()
            yield mine
            if mine:
                path.unlink(missing_ok=True)
        finally:
            os.close(fd)

    def answer(self, token: str, answer: Answer) -> None:
        """Lay it down; where the guest is gone nobody will fetch it, and it is cleared away."""
        if self._file(token, "ask").exists():
            new = self._file(token, "new")
            new.write_bytes(msgspec.msgpack.encode(answer))
            new.replace(self._file(token, "answer"))

    def answered(self, token: str) -> Answer | None:
        """Take the answer if it is there. Raises `msgspec.DecodeError`."""
        path = self._file(token, "answer")
        with suppress(FileNotFoundError):
            said = path.read_bytes()
            path.unlink(missing_ok=True)
            return msgspec.msgpack.decode(said, type=Answer)
        return None

    def _file(self, token: str, kind: str) -> Path:
        return self._folder / f"{token}.{kind}"

    def _put(self, name: str, said: msgspec.Struct) -> Held:
        """Locked before it has its name, so that nobody ever takes it for a dead one's."""
        path, new = self._folder / name, self._folder / f"{name}.new"
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with open(fd, "wb", closefd=False) as file:
                file.write(msgspec.msgpack.encode(said))
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            os.close(fd)
            raise
        return Held(path, fd)

    def _living(self, kind: str, what: type[T]) -> Iterator[tuple[Path, T]]:
        for path in self._paths():
            if path.suffix != kind:
                continue
            with suppress(FileNotFoundError, msgspec.DecodeError):  # it went away meanwhile; or it is nobody's of ours
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if not _locked(fd):
                        yield path, msgspec.msgpack.decode(path.read_bytes(), type=what)
                finally:
                    os.close(fd)

    def _clear(self) -> None:
        for path in self._paths():
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    held = path.suffix in (".host", ".ask", ".claim", ".new")  # while somebody lives who made it
                    wanted = path.suffix in (".answer", ".new") and self._file(path.stem, "ask").exists()
                    if not wanted and (not held or _locked(fd)):
                        path.unlink(missing_ok=True)
                finally:
                    os.close(fd)

    def _paths(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(self._folder.iterdir())
        return []


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
