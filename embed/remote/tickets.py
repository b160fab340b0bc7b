"""What becomes of each text that is sent: its vector, or that it is refused, and that it was really the text.

A request that fails as a whole is asked again in halves, until the guilty text is alone. Before a text is refused, the
endpoint must have taken another one meanwhile: else it is the endpoint that is wrong, and nothing is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.embed.remote.answers import Answer
from penstock.embed.remote.asking import Asker
from penstock.embed.remote.packing import halves, packed
from penstock.embed.remote.types import Declined, GaveUp
from penstock.embed.types import Encoded, EncoderUnavailable, Refused

TRIES = 3
"""So often a text is asked for whose vector is none, before it is refused."""
ROUNDS = 2
"""So often all the attempts of one request are made for a single text that the server fails on."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Texts of one request, prompts in them, and their positions. `tries`: how often they came back without a usable
    vector. `rounds`: how often the server failed on it, alone."""

    positions: tuple[int, ...]
    texts: tuple[str, ...]
    tries: int = 0
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came: an answer, or why there is none, which the endpoint does not say to every text."""

    errand: Errand
    answer: Answer | Declined | GaveUp


class Verdicts:
    """Over the texts of one call. `work` and `judge` are for one thread, `ask` for any. A text is read once, when its
    turn comes."""

    def __init__(self, asker: Asker, texts: Sequence[str], tokens: Sequence[int]) -> None:
        self._asker, self._texts, self._tokens = asker, texts, tokens
        self._items = asker.terms.max_items
        self._lock = threading.Lock()
        self._good = 0

    def work(self) -> Iterator[Errand]:
        """All the texts, in order. Requests get smaller when the endpoint says that they are too large."""
        at, terms = 0, self._asker.terms
        while at < len(self._tokens):
            ahead = range(at, len(self._tokens))
            group = next(packed(ahead, self._tokens, items=self._items, most=terms.max_request_tokens))
            at = group[-1] + 1
            yield Errand(group, tuple(terms.document_prompt + self._texts[k] for k in group))

    def ask(self, errand: Errand) -> Outcome:
        """Ask for these texts. Raises `EncoderUnavailable`, also where the endpoint fails on every text."""
        before = self._good
        try:
            answer = self._asker.vectors(errand.texts, self._weight(errand))
        except (Declined, GaveUp) as error:
            if isinstance(error, GaveUp) and not error.by_items:
                raise EncoderUnavailable(str(error), error.after) from None
            self._sure_of_the_endpoint(before, error, errand)
            return Outcome(errand, error)
        if len(answer.faults) < len(errand.positions):
            with self._lock:
                self._good += 1
        elif errand.tries + 1 >= TRIES:
            self._sure_of_the_endpoint(before, GaveUp(f"the endpoint gives no vectors: {answer.faults[0]}"), errand)
        return Outcome(errand, answer)

    def judge(self, outcome: Outcome) -> tuple[Encoded, list[Errand]]:
        """What to say now, and what is to be asked next."""
        errand, answer = outcome.errand, outcome.answer
        if isinstance(answer, Answer):
            return self._answered(errand, answer)
        if len(errand.positions) > 1:
            if isinstance(answer, Declined) and answer.args[0].startswith("413"):
                self._items = min(self._items, max(1, (len(errand.positions) + 1) // 2))
            cut = halves([self._tokens[position] for position in errand.positions])
            return _said(self._asker.dim), [picked(errand, range(cut)), picked(errand, range(cut, len(errand.texts)))]
        if isinstance(answer, GaveUp) and errand.rounds + 1 < ROUNDS:
            return _said(self._asker.dim), [replace(errand, rounds=errand.rounds + 1)]
        refused = Refused(errand.positions[0], "refused", f"the endpoint: {answer}")
        return _said(self._asker.dim, refused), []

    def _answered(self, errand: Errand, answer: Answer) -> tuple[Encoded, list[Errand]]:
        good = [k for k in range(len(errand.positions)) if k not in answer.faults]
        over = errand.tries + 1 >= TRIES
        refused = [
            Refused(errand.positions[k], "not_finite", f"the endpoint, {TRIES} times: {why}")
            for k, why in sorted(answer.faults.items())
            if over
        ]
        tokens = sum(self._tokens[errand.positions[k]] for k in good)
        encoded = Encoded(
            np.array([errand.positions[k] for k in good], dtype=np.int64),
            answer.vectors[good],
            tokens,
            tokens,
            tuple(refused),
            billed=answer.tokens if answer.tokens >= 0 else self._weight(errand),
        )
        again = replace(picked(errand, sorted(answer.faults)), tries=errand.tries + 1)
        return encoded, [] if over or not answer.faults else [again]

    def _sure_of_the_endpoint(self, before: int, error: Declined | GaveUp, errand: Errand) -> None:
        """Whether it takes other texts. Raises `EncoderUnavailable` if it takes none."""
        if isinstance(error, Declined) and len(errand.positions) > 1:
            return  # halving tells
        if self._good > before:
            return
        after = error.after if isinstance(error, GaveUp) else None
        try:
            if all(self._asker.control().faults for _ in range(TRIES)):
                raise EncoderUnavailable(str(error), after)
        except Declined as other:
            raise EncoderUnavailable(
                f"the endpoint refuses every text: {other}; check [embed] model and [embed.endpoint]"
            ) from None
        except GaveUp:
            raise EncoderUnavailable(str(error), after) from None

    def _weight(self, errand: Errand) -> int:
        return sum(self._tokens[position] for position in errand.positions)


def picked(errand: Errand, which: Iterable[int]) -> Errand:
    """Some of its texts, as an errand that is new."""
    chosen = list(which)
    return Errand(tuple(errand.positions[k] for k in chosen), tuple(errand.texts[k] for k in chosen))


def _said(dim: int | None, *refused: Refused) -> Encoded:
    """No vectors."""
    nothing = np.zeros((0, dim or 0), dtype=np.float32)
    return Encoded(np.zeros(0, dtype=np.int64), nothing, 0, 0, tuple(refused))
