"""What a model must show before its vectors may join an index, and what is said of those that did.

The canaries (`embed/quality/canaries.py`) are embedded each time that a model is loaded, before it embeds anything
else, and compared with what the index keeps; and again by the commit, on whatever head it lands. So everything in an
index agrees with one set of vectors. That is also why vectors that lie in the spool or in the cache need no note of who
made them: whoever put them there had passed, and so has whoever goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.embed.quality import canaries, change, statistics
from penstock.embed.quality.canaries import Prepared
from penstock.embed.quality.statistics import Lot
from penstock.embed.types import Encoder, EncoderUnavailable
from penstock.flows.runs.reloading import Reloading
from penstock.index.types import Baseline, Canaries, Row, SpaceRef

if TYPE_CHECKING:
    from penstock.flows.runs.loading import Model

_FIRST = ("device", "dtype")
_UNHEARD = ("budget", "pid")
"""Beside the reasons (`…_why`): measured anew by each process, different always, and no reason for anything."""
_MOST, _LONGEST = 6, 60


class Drifted(Exception):
    """The model makes other vectors here than those of the index. Nothing was written; what to do is said."""


class Gate:
    """The gate of one run to one space, None if the index has none yet. Thread-safe.

    `prepare` gives a set of canaries as the model takes it.
    """

    def __init__(self, space: SpaceRef | None, prepare: Callable[[str], Prepared], note: Callable[[str], None]) -> None:
        self._kept = space.canaries if space else None
        self._before = lot_of(space.baseline) if space else None
        self._from_before = space is not None and bool(space.segments) and space.canaries is None
        self._prepare, self._note = prepare, note
        self._lock = Lock()
        self._mine: Canaries | None = None
        self._landed: Lot | None = None

    def guarding(self, models: Mapping[str, Model]) -> dict[str, Model]:
        """The models, each ready only when it has passed."""
        return {name: _Guarded(model, self) for name, model in models.items()}

    def admit(self, encoder: Encoder) -> None:
        """Raise `Drifted` if the encoder is not that of the index, or of the other devices of this run.

        Raises `EncoderUnavailable`, and what the encoder raises.
        """
        known = self._kept is not None and self._kept.texts in canaries.SETS
        made = self._prepare(self._kept.texts if self._kept and known else canaries.NEWEST)
        vectors = canaries.embedded(encoder, made.ids, made.texts)
        mine = Canaries(made.name, canaries.packed(vectors), made.ids[: canaries.QUICK], dict(encoder.provenance))
        with self._lock:
            first, self._mine = self._mine is None, self._mine or mine
            reference = self._mine
        if self._kept is not None and known:
            _agree(self._kept, mine, encoder.dim, "those of the index")
        else:
            _agree(reference, mine, encoder.dim, "another device of this run")
        if first:
            self._say(known)

    def _say(self, known: bool) -> None:
        if self._kept is not None and not known:
            self._note(
                f"the index's canaries are of set {self._kept.texts}, which this penstock does not know: unchecked"
            )
        if self._from_before:
            self._note("the index has no canaries yet: what this model makes of them is kept with the next vectors")

    def join(self, lot: Lot) -> Callable[[SpaceRef], SpaceRef]:
        """For `Delta.join`: a commit of these vectors, on whatever head. Raises `Drifted`."""

        def joined(space: SpaceRef) -> SpaceRef:
            if self._mine is None:
                raise RuntimeError("vectors are to be committed, and no model has passed the gate")
            if space.canaries is not None:  # a run beside this one may have been the first
                _agree(space.canaries, self._mine, space.dim, "those of the index")
            before = lot_of(space.baseline)
            return msgspec.structs.replace(
                space,
                canaries=space.canaries or self._mine,
                baseline=_kept_as(lot if before is None else before + lot),
            )

        return joined

    def landed(self, lot: Lot) -> None:
        """These vectors were committed."""
        with self._lock:
            self._landed = lot if self._landed is None else self._landed + lot

    def told(self) -> list[str]:
        """What is different about the vectors of this run, a line each."""
        if self._before is None or self._landed is None:
            return []
        return change.told(self._before, self._landed)

    def figures(self) -> dict[str, float]:
        """What the vectors of this run are like; empty if there are none."""
        return {} if self._landed is None else change.described(self._before, self._landed)


class _Guarded:
    """A `Model` with a gate before it."""

    def __init__(self, model: Model, gate: Gate) -> None:
        self._model, self._gate = model, gate

    def ready(self) -> Encoder:
        return Reloading(self._model.ready(), self._gate.admit, _loads)

    def close(self) -> None:
        self._model.close()


def _loads(encoder: Encoder) -> int:
    """How often its model was loaded; who lives in this process loads once."""
    return int(getattr(encoder, "loads", 1))


def measured(vectors: NDArray[np.float32], rows: Iterable[Row]) -> Lot:
    """The vectors of one commit, float32 (n, dim), n > 0, with their rows."""
    said = [(row.uri, row.tokens) for row in rows]
    return statistics.gathered(vectors, [uri for uri, _ in said], [tokens for _, tokens in said])


def doubt(space: SpaceRef, encoder: Encoder) -> str | None:
    """Why the answers to questions may be wrong, None if there is no reason; from the shortest canaries alone.

    An endpoint is not asked: it would be another request for each question. Runs ask it.
    """
    kept = None if "endpoint" in encoder.provenance else space.canaries
    if kept is None or kept.texts not in canaries.SETS or not kept.ids or encoder.dim != space.dim:
        return None
    texts = [canary.text for canary in canaries.SETS[kept.texts][: len(kept.ids)]]
    try:
        vectors = canaries.embedded(encoder, kept.ids, texts)
    except EncoderUnavailable:
        return None  # the question itself will say so
    found = canaries.cosines(vectors, canaries.unpacked(kept.vectors, space.dim)[: len(texts)])
    if found.min() >= canaries.AGREES:
        return None
    return (
        f"the model makes other vectors here than those of the index (cosine {found.min():.4f}"
        f"{_differences(kept.provenance, encoder.provenance)}): answers may be wrong; "
        '[embed] dtype = "float32" may help'
    )


def lot_of(baseline: Baseline | None) -> Lot | None:
    """The sums that an index keeps; None if there are none of this kind."""
    if baseline is None or baseline.kind != statistics.KIND:
        return None
    return Lot(dict(baseline.figures), np.frombuffer(baseline.vector, dtype="<f4").astype(np.float64))


def _kept_as(lot: Lot) -> Baseline:
    return Baseline(statistics.KIND, lot.figures, lot.vector.astype("<f4").tobytes())


def _agree(then: Canaries, now: Canaries, dim: int, whose: str) -> None:
    """Raise `Drifted` unless both say the same of every canary. Two sets cannot be compared."""
    if then.texts != now.texts:
        return
    before, after = (canaries.unpacked(each.vectors, dim) for each in (then, now))
    found = canaries.cosines(after, before)
    if found.min() >= canaries.AGREES:
        return
    worst = canaries.SETS[now.texts][int(found.argmin())].name
    raise Drifted(
        f"the model makes other vectors here than {whose}: {int((found < canaries.AGREES).sum())} of "
        f"{len(found)} canary texts are below a cosine of {canaries.AGREES}, the worst at {found.min():.4f} ({worst})"
        f"{_differences(then.provenance, now.provenance)}. Nothing was written, and what was prepared is kept for a "
        "run that agrees: another one stops here again, until that is mended. "
        'Try [embed] dtype = "float32", or the device and versions that the index was made with; '
        "if the new vectors are the right ones, index everything again into another --home"
    )


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`; device cpu then, H100 now`: of what is recorded of both encoders, what is short and differs."""
    names = [*_FIRST, *sorted(key for key in {*then, *now} - {*_FIRST, *_UNHEARD} if not key.endswith("_why"))]
    pairs = [(name, then.get(name, "unknown"), now.get(name, "unknown")) for name in names]
    said = [
        f"{name} {was} then, {is_} now" for name, was, is_ in pairs if was != is_ and len(was) + len(is_) <= _LONGEST
    ]
    if not said:
        return "; device, dtype and versions are the same as then"
    return "".join(f"; {each}" for each in said[:_MOST])
