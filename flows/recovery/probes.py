"""The questions of a drill: texts with their vectors, kept in the home, so that nothing is embedded when one is held.

From the file of `[snapshots] probes` where there is one. Else from the index itself: passages evenly spaced over it,
with their own stored vectors. Such a vector has its own passage as the first hit while that is served, so it also
shows that exact passages come back, and needs no model.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.flows.recovery import drill_log
from penstock.index.blobs import framed
from penstock.index.errors import Corrupt

if TYPE_CHECKING:
    from penstock.index.reading.reader import Reader

FILE = "probes.json"
MOST_QUESTIONS = 1000
PASSAGES = 32
_WIDTH = 200
"""Characters of a passage that are kept to name it by."""

Encode = Callable[[list[str]], NDArray[np.float32]]
"""Vectors of questions, float32 (n, d), made as those of the index; raises where there is no model for it."""


class Probe(msgspec.Struct, frozen=True):
    """One question. `vector`: float32 little-endian."""

    text: str
    vector: bytes


class Probes(msgspec.Struct, frozen=True):
    """The questions, and what they depend on: another index, model or file of questions makes them anew.

    `digest`: sha256 of the file of questions, empty for passages. `chunks`: how many the index had then.
    """

    format: int
    lineage: str
    space: str
    dim: int
    made_from: Literal["questions", "passages"]
    digest: str
    chunks: int
    probes: tuple[Probe, ...]

    @property
    def texts(self) -> list[str]:
        return [probe.text for probe in self.probes]

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 (n, dim), in the order of `texts`."""
        data = b"".join(probe.vector for probe in self.probes)
        return np.frombuffer(data, dtype="<f4").reshape(-1, max(self.dim, 1)).astype(np.float32)


def of(home: Path, reader: Reader, questions: Path | None, encode: Encode, report: Callable[[str], None]) -> Probes:
    """The probes of this index: those that are kept, if they are still its own, else made now and kept.

    `reader`: production. Where the questions cannot be read or embedded, that is reported, and passages serve.
    """
    path = home / drill_log.FOLDER / FILE
    lines, digest = _questions(questions, report)
    kept = _kept(path, report)
    if kept is not None and _current(kept, reader, digest):
        return kept
    made = _from_questions(reader, lines, digest, encode, report) if lines else None
    if made is None:
        if kept is not None and _current(kept, reader, ""):
            return kept
        made = _from_passages(reader)
    drill_log.replace(path, framed.encode(made))
    return made


def space_of(reader: Reader) -> tuple[str, int]:
    """(what names how its vectors were made, their width); width 0 while there are none."""
    space = reader.manifest.spaces.get(reader.manifest.live)
    if space is None:
        return "", 0
    return _digest(msgspec.json.encode(space.identity, order="deterministic")), space.dim


def _kept(path: Path, report: Callable[[str], None]) -> Probes | None:
    try:
        found = framed.decode(path.read_bytes(), Probes, str(path))
        sound = found.vectors.shape == (len(found.probes), max(found.dim, 1)) and np.isfinite(found.vectors).all()
    except FileNotFoundError:
        return None
    except (Corrupt, OSError, ValueError) as fault:
        report(f"{str(fault).partition(';')[0]}; the probes are made anew")
        return None
    if not sound:
        report(f"{path}: holds vectors that are none; the probes are made anew")
    return found if sound else None


def _current(kept: Probes, reader: Reader, digest: str) -> bool:
    """Whether they fit. Passages of an index that has since doubled say too little about it."""
    space, dim = space_of(reader)
    grown = kept.made_from == "passages" and reader.manifest.counts.get("chunks", 0) > 2 * kept.chunks
    return (kept.lineage, kept.space, kept.dim, kept.digest) == (reader.manifest.lineage, space, dim, digest) and (
        not grown
    )


def _questions(path: Path | None, report: Callable[[str], None]) -> tuple[list[str], str]:
    """(the questions of the file, its digest); nothing where there is none, or it cannot be read."""
    if path is None:
        return [], ""
    try:
        data = path.read_bytes()
        lines = data.removeprefix(codecs.BOM_UTF8).decode().splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "not UTF-8"
        report(f"[snapshots] probes: {path} cannot be read ({why}); passages of the index are asked for instead")
        return [], ""
    found = list(islice((line.strip() for line in lines if line.strip()), MOST_QUESTIONS + 1))
    if len(found) > MOST_QUESTIONS:
        report(f"[snapshots] probes: only the first {MOST_QUESTIONS} questions of {path} are asked")
    if not found:
        report(f"[snapshots] probes: {path} holds no question; passages of the index are asked for instead")
        return [], ""
    return found[:MOST_QUESTIONS], _digest(data)


def _from_questions(
    reader: Reader, lines: list[str], digest: str, encode: Encode, report: Callable[[str], None]
) -> Probes | None:
    """None, and a line, where this machine cannot make vectors of them that fit the index."""
    _, dim = space_of(reader)
    if not dim:
        return None
    try:
        vectors = np.ascontiguousarray(encode(lines), dtype="<f4")
        if vectors.shape != (len(lines), dim) or not np.isfinite(vectors).all():
            raise ValueError(f"the model makes vectors of shape {vectors.shape}, those of the index have {dim}")
    except Exception as error:  # a drill must not depend on a model
        report(f"the questions of [snapshots] probes cannot be embedded ({error}); passages are asked for instead")
        return None
    found = tuple(Probe(line, vector.tobytes()) for line, vector in zip(lines, vectors, strict=True))
    return _made(reader, "questions", digest, found)


def _from_passages(reader: Reader) -> Probes:
    chosen = reader.sample(PASSAGES)
    found = tuple(Probe(each.row.text[:_WIDTH], each.vector.astype("<f4").tobytes()) for each in chosen)
    return _made(reader, "passages", "", found)


def _made(reader: Reader, made_from: Literal["questions", "passages"], digest: str, found: tuple[Probe, ...]) -> Probes:
    counts: Mapping[str, int] = reader.manifest.counts
    space, dim = space_of(reader)
    chunks = counts.get("chunks", 0)
    return Probes(framed.FORMAT, reader.manifest.lineage, space, dim, made_from, digest, chunks, found)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
