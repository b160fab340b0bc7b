"""An encoder elsewhere: any endpoint that speaks OpenAI's `/v1/embeddings`.

Texts go out in requests that hold no more than the endpoint takes, several at once, and what comes back is yielded at
once: it is paid for. A text that the endpoint refuses is found by halving, and refused alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.embed.remote.answers import Answer
from penstock.embed.remote.asking import Asker
from penstock.embed.remote.flights import Flights
from penstock.embed.remote.packing import packed
from penstock.embed.remote.tickets import Outcome, Verdicts
from penstock.embed.remote.types import Declined, GaveUp, Post, Terms
from penstock.embed.tokenize import Span
from penstock.embed.types import Encoded, EncoderUnavailable, TokenIds

_log = logging.getLogger(__name__)
Keep = Callable[[Sequence[str], NDArray[np.float32]], None]


class Counting(Protocol):
    """What is needed of a tokenizer. `encode` counts prompt and specials."""

    prompt: str

    def encode(self, text: str) -> tuple[int, ...]: ...

    def span(self, text: str) -> Span: ...


class RemoteEncoder:
    """An `Encoder` over an endpoint. One thread at a time may use it; it uses several.

    Asks once when it is made, for the width of vectors and to see that it is let in, unless `dim` says how wide they
    must be: raises `EncoderUnavailable`. `keep` is handed texts and vectors that came when nobody waited for them any
    more. `note`: one line for whoever watches.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        identity: Mapping[str, str],
        provenance: Mapping[str, str],
        documents: Counting,
        queries: Counting,
        post: Post,
        post_queries: Post,
        keep: Keep,
        note: Callable[[str], None],
        close: Callable[[], None],
        dim: int | None = None,
    ) -> None:
        self.terms, self.identity, self.provenance = terms, dict(identity), dict(provenance)
        self._queries, self._keep, self._note, self._close = queries, keep, note, close
        self._asker = Asker(terms, post, lambda text: len(documents.encode(text)))
        self._quick = Asker(terms, post_queries, lambda text: len(queries.encode(text)))
        self._cut_said = False
        self.dim = dim or self._first()
        self._asker.dim = self._quick.dim = self.dim

    def encode(self, ids: Sequence[TokenIds], texts: Sequence[str] | None = None) -> Iterator[Encoded]:
        """Yield what comes, as it comes; each position exactly once, as a vector or refused. `ids` are counted.

        Raises ValueError where `texts` are lacking, or a text is longer than the endpoint takes, before anything is
        sent; `EncoderUnavailable` after all that was under way has been yielded.
        """
        if texts is None or len(texts) != len(ids):
            raise ValueError("an endpoint is sent texts, one for each sequence of ids")
        tokens = [len(sequence) for sequence in ids]
        if tokens and max(tokens) > self.terms.max_text_tokens:
            raise ValueError(f"a text of {max(tokens)} tokens: the endpoint takes {self.terms.max_text_tokens}")
        return self._encoded(texts, tokens)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions with the query prompt: float32 (len(texts), dim), unit norm.

        A question longer than the endpoint takes is cut, and the log says so. Raises `EncoderUnavailable`, soon: a
        person waits.
        """
        asked = [self._queries.prompt + self._fit(text) for text in texts]
        tokens = [len(self._queries.encode(text)) for text in texts]
        found = np.zeros((len(texts), self.dim), dtype=np.float32)
        terms = self.terms
        for group in packed(range(len(texts)), tokens, items=terms.max_items, most=terms.max_request_tokens):
            try:
                answer = self._quick.vectors([asked[k] for k in group], sum(tokens[k] for k in group))
            except Declined as error:
                raise EncoderUnavailable(f"the endpoint refuses this question: {error}") from None
            except GaveUp as error:
                raise EncoderUnavailable(f"no vector for the question: {error}", error.after) from None
            if answer.faults:
                raise EncoderUnavailable(f"no vector for the question: {next(iter(answer.faults.values()))}")
            found[list(group)] = answer.vectors
        return found

    def close(self) -> None:
        """Let go of the connections. May be repeated."""
        self._close()

    def _first(self) -> int:
        try:
            answer = self._asker.control()
        except Declined as error:
            raise EncoderUnavailable(
                f"the endpoint refuses even a plain sentence: {error}; check [embed] model and [embed.endpoint]"
            ) from None
        except GaveUp as error:
            raise EncoderUnavailable(f"the endpoint gives no vectors: {error}", error.after) from None
        if answer.faults:
            raise EncoderUnavailable(f"the endpoint gives no usable vectors: {answer.faults[0]}")
        return int(answer.vectors.shape[1])

    def _encoded(self, texts: Sequence[str], tokens: Sequence[int]) -> Iterator[Encoded]:
        verdicts = Verdicts(self._asker, texts, tokens)
        flights = Flights(verdicts.work(), verdicts.ask, self.terms.at_once)
        ended = False
        try:
            for outcome in flights.outcomes():
                encoded, more = verdicts.judge(outcome)
                flights.first(*more)
                self._look(outcome, tokens)
                yield encoded
            ended = True
        finally:
            if not ended:
                # Whoever asked wants no more: what is under way is paid for, and is kept for the next time.
                for outcome in flights.rest():
                    encoded, _ = verdicts.judge(outcome)
                    found = dict(zip(outcome.errand.positions, outcome.errand.texts, strict=True))
                    start = len(self.terms.document_prompt)
                    self._keep([found[k][start:] for k in encoded.positions.tolist()], encoded.vectors)
            flights.close()

    def _look(self, outcome: Outcome, tokens: Sequence[int]) -> None:
        """Say it once when the endpoint counts fewer tokens than there are: it may cut what is long."""
        if self._cut_said or not self.terms.exact or not isinstance(outcome.answer, Answer):
            return
        ours, theirs = sum(tokens[k] for k in outcome.errand.positions), outcome.answer.tokens
        if 0 <= theirs < ours - 4 * len(outcome.errand.positions):
            self._cut_said = True
            self._note(
                f"the endpoint counted {theirs} tokens where there are {ours}: it may cut long texts on the quiet; "
                "check its truncation and [embed.endpoint] max_text_tokens and tokenizer"
            )

    def _fit(self, text: str) -> str:
        most = self.terms.max_text_tokens
        count = len(self._queries.encode(text))
        if count <= most:
            return text
        _log.warning("a question of %d tokens was cut to the %d that the endpoint takes", count, most)
        span = self._queries.span(text)
        room = max(1, most - (count - len(span.ids)) - 1)
        return text[: int(span.starts[min(room, len(span.ids) - 1)])]
