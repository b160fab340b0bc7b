"""Whether a lot of vectors is like those before it, and in words what is not. It is said, and stops nothing.

A difference is told when it is both improbable and large. Improbable: its square is many times what documents drawn
alike would make, given how documents differ within a commit, commits from one another, and how many there are.
Large: against how much documents differ anyhow. docs/decisions/0020 has the figures behind the limits.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.embed.quality.statistics import Lot

FEWEST, FEWEST_BEFORE = 10, 30
"""Of fewer documents, in the lot and before it, nothing is said."""
PLACE_TIMES, PLACE_SHARE = 6.0, 0.3
"""The squared distance of two centroids: that many times the expected one, that share of the documents' variance."""
LENGTH_TIMES, LENGTH_SHARE = 11.0, 0.25
"""The same of mean lengths: beyond 3.3 standard errors, and half a standard deviation."""
NEAR_SAMPLE, NEAR_RISE = 50, 0.2


class Shift(NamedTuple):
    """A difference of two means, squared: against chance, and against the variance between documents."""

    times: float
    share: float

    def exceeds(self, times: float, share: float) -> bool:
        return self.times > times and self.share > share


def told(before: Lot, now: Lot) -> list[str]:
    """What is different, a line each for people; nothing where there is too little to go by."""
    if now.figures["documents"] < FEWEST or before.figures["documents"] < FEWEST_BEFORE:
        return []
    lines = []
    if place(before, now).exceeds(PLACE_TIMES, PLACE_SHARE):
        lines.append(
            "the vectors of this run lie elsewhere than those before (cosine of the centroids "
            f"{cosine(before, now):.2f}): documents of a new kind, or a model, parser or source that has changed"
        )
    if length(before, now).exceeds(LENGTH_TIMES, LENGTH_SHARE):
        lines.append(
            f"the chunks of this run have {now.mean('tokens', 'vectors'):.0f} tokens on average, "
            f"{before.mean('tokens', 'vectors'):.0f} before: documents of a new kind, or a parser that has changed"
        )
    was, share = before.mean("near", "sampled"), now.mean("near", "sampled")
    if min(before.figures["sampled"], now.figures["sampled"]) >= NEAR_SAMPLE and share - was > NEAR_RISE:
        lines.append(
            f"{share:.0%} of this run's vectors have a near-duplicate beside them, {was:.0%} before: copies, the same "
            "boilerplate on every page, or a model that no longer tells texts apart"
        )
    return lines


def described(before: Lot | None, now: Lot) -> dict[str, float]:
    """The lot in figures for programs; beside a `before`, how far it is from that."""
    figures = {**_figures(now), "documents": now.figures["documents"], "vectors": now.figures["vectors"]}
    if before is not None and before.figures["documents"] > 1:
        figures |= {f"before_{name}": value for name, value in _figures(before).items()}
        figures |= {
            "before_documents": before.figures["documents"],
            "centroid_cosine": cosine(before, now),
            "centroid_shift_times_expected": place(before, now).times,
            "length_shift_times_expected": length(before, now).times,
        }
    return {name: round(value, 6) for name, value in figures.items()}


def place(before: Lot, now: Lot) -> Shift:
    """How far the centroids of two lots are apart."""
    wanted = before.vector / before.figures["documents"] - now.vector / now.figures["documents"]
    centred = float(before.vector @ before.vector) / before.figures["documents"]
    return _shift(float(wanted @ wanted), centred, before, now, "squares", "between")


def length(before: Lot, now: Lot) -> Shift:
    """How far the mean chunk lengths of two lots' documents are apart."""
    apart = before.mean("lengths", "documents") - now.mean("lengths", "documents")
    centred = before.figures["lengths"] ** 2 / before.figures["documents"]
    return _shift(apart**2, centred, before, now, "lengths_squared", "lengths_between")


def cosine(before: Lot, now: Lot) -> float:
    """Of the two centroids; 0 where one is nothing."""
    norms = float(before.vector @ before.vector) * float(now.vector @ now.vector)
    return float(before.vector @ now.vector) / norms**0.5 if norms > 0 else 0.0


def _figures(lot: Lot) -> dict[str, float]:
    chunk = lot.mean("tokens", "vectors")
    middle = lot.vector / lot.figures["documents"]
    return {
        "tokens_mean": chunk,
        "tokens_sd": max(0.0, lot.mean("tokens_squared", "vectors") - chunk**2) ** 0.5,
        "norm_mean": lot.mean("norms", "vectors"),
        "documents_cosine": float(middle @ middle),
        "near_duplicates": lot.mean("near", "sampled"),
    }


def _shift(squared: float, centred: float, before: Lot, now: Lot, squares: str, between: str) -> Shift:
    """`centred`: the squared sum of `before` by its documents, which is taken off its sums of squares."""
    documents, commits, sizes = (before.figures[name] for name in ("documents", "commits", "documents_squared"))
    total = max(0.0, before.figures[squares] - centred) / (documents - 1)
    within = max(0.0, before.figures[squares] - before.figures[between]) / max(1.0, documents - commits)
    among = 0.0
    if commits > 1:
        typical = (documents - sizes / documents) / (commits - 1)
        scatter = (before.figures[between] - centred) / (commits - 1)
        among = max(0.0, (scatter - within) / typical)
    expected = sum(
        within / lot.figures["documents"] + among * lot.figures["documents_squared"] / lot.figures["documents"] ** 2
        for lot in (before, now)
    )
    # A space of equal documents has no variance, up to rounding: any other document is far away from it.
    least = 1e-9 * max(1.0, centred / documents)
    return Shift(squared / max(expected, least), squared / max(total, least))
