"""One request for vectors: its body, and what its answer is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from penstock.embed.remote import answers, refusals
from penstock.embed.remote.answers import Answer
from penstock.embed.remote.types import Post, Response, Terms

CONTROL = "The gate admits water to the turbine at exactly the pace that it can take."
"""A text that every model takes: whether it is the text that an endpoint refuses, or everything."""


class Asker:
    """Asks one endpoint by its terms. Thread-safe. `dim`: what vectors must have; None until one has come.

    `count`: tokens of a text, prompt and specials included, at most.
    """

    def __init__(self, terms: Terms, post: Post, count: Callable[[str], int]) -> None:
        self.terms, self._post, self._count = terms, post, count
        self.dim: int | None = None

    def vectors(self, texts: Sequence[str], tokens: int) -> Answer:
        """The vectors of `texts`, prompts in them, which weigh `tokens` together at most.

        Raises `Declined`, `GaveUp`, `EncoderUnavailable`.
        """
        return self._post(self._body(texts), tokens, lambda response: self._judged(response, texts, tokens))

    def control(self) -> Answer:
        """The vector of a text that every model takes. Raises as `vectors`."""
        return self.vectors([CONTROL], self._count(CONTROL))

    def _judged(self, response: Response, texts: Sequence[str], tokens: int) -> tuple[Answer, int]:
        refusals.check(response, texts)
        if response.status == 429:  # the request is repeated, whatever this says
            return answers.nothing(), 0
        answer = answers.read(response, len(texts), self.dim, self.terms)
        return answer, answer.tokens if answer.tokens >= 0 else tokens

    def _body(self, texts: Sequence[str]) -> bytes:
        terms = self.terms
        body: dict[str, object] = {"model": terms.model, "input": list(texts), "encoding_format": terms.encoding}
        if terms.dimensions is not None:
            body["dimensions"] = terms.dimensions
        # In ASCII: half a surrogate pair in a text must not keep the others from being sent.
        return json.dumps(body).encode("ascii")
