"""The composition root's part for encoders elsewhere: an endpoint with its budgets, its key and its tokens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from penstock.connectors.types import SourceError
from penstock.embed.types import EncoderUnavailable
from penstock.flows import wiring
from penstock.flows.config.endpoint import REFERENCE
from penstock.flows.config.settings import Settings
from penstock.flows.runs.endpoint_post import Posting
from penstock.flows.runs.endpoint_terms import address, cost, digest, identity, said, slot, terms
from penstock.flows.runs.stop import Halted
from penstock.flows.sources.redactor import REDACTOR
from penstock.flows.sources.secrets import prefect_block, resolver
from penstock.flows.sources.source_wiring import ledger
from penstock.index.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock.connectors.http.budget import SharedBudget
    from penstock.connectors.http.meter import Meter
    from penstock.connectors.http.posting import Poster
    from penstock.connectors.http.types import Ledger
    from penstock.embed.cache import Cache
    from penstock.embed.remote.encoder import RemoteEncoder
    from penstock.flows.config.home import Home
    from penstock.flows.runs.accounting import Accounting

T = TypeVar("T")

NAME = "[embed.endpoint]"
QUERY_ATTEMPTS = 3


def stops_with(stopped: Callable[[], bool], models: Iterable[object]) -> None:
    """From now on an endpoint among these models waits for nothing once a stop is requested."""
    for model in models:
        if isinstance(model, Endpoint):
            model.stopped = stopped


def settle(settings: Settings, models: Iterable[object], account: Accounting) -> None:
    """What the endpoint of a run cost, and what a person should know of it."""
    for model in models:
        if isinstance(model, Endpoint):
            account.billed_tokens = model.spent
            account.cost = cost(settings, model.spent)
            account.messages += model.messages()
            if repeated := model.retries():
                account.retries[NAME] = repeated


class Endpoint:
    """One endpoint as a run, or a person with a question, uses it: a `Model` that `flows.runs.loading` waits for.

    `cache`: opens where vectors go that came when the run had stopped. `hurried`: somebody waits, and whatever is asked
    has only the time that a question has. Nobody is asked before `ready`.
    """

    def __init__(
        self,
        settings: Settings,
        home: Home,
        *,
        stopped: Callable[[], bool] = lambda: False,
        note: Callable[[str], None] = lambda line: None,
        cache: Callable[[], Cache] | None = None,
        hurried: bool = False,
        window: float = 60.0,
    ) -> None:
        self._settings, self._said, self._terms = settings, said(settings), terms(settings)
        self._home, self.stopped, self._note, self._cache = home, stopped, note, cache
        self._hurried, self._window = hurried, window
        self._stack = ExitStack()
        self._posters: list[Poster] = []
        self._meters: list[Meter] = []

    def ready(self) -> RemoteEncoder:
        """The encoder. Asks the endpoint once. Raises `EncoderUnavailable`, `UnknownModel`."""
        from penstock.embed.remote import identity as identities
        from penstock.embed.remote.encoder import RemoteEncoder

        documents, queries = identities.tokenizers(self._said.tokenizer, self._terms)
        try:
            kept = self._stack.enter_context(ledger(self._settings, self._home, self._home.path))
            posts = [self._post(kept, quick) for quick in (self._hurried, True)]
        except SourceError as error:
            raise EncoderUnavailable(str(error)) from None
        host = urlsplit(self._said.url).netloc.rpartition("@")[2]
        return RemoteEncoder(
            self._terms,
            identity=identity(self._settings),
            provenance={"device": slot(self._settings), "dtype": self._said.encoding, "endpoint": host},
            documents=documents,
            queries=queries,
            post=posts[0],
            post_queries=posts[1],
            keep=self._keep,
            note=self._note,
            close=self.close,
            dim=self._terms.dimensions if self._hurried else None,
        )

    @property
    def spent(self) -> int:
        """Tokens that were paid for so far, or may have been."""
        return sum(meter.spent for meter in self._meters)

    def messages(self) -> list[str]:
        """What a person should know of what was paid for."""
        unsure = sum(poster.unsure for poster in self._posters)
        if not unsure:
            return []
        return [
            f"answers to requests of {unsure:,} tokens were lost, and asked for again: the endpoint may have billed "
            "these twice"
        ]

    def retries(self) -> dict[str, int]:
        """Requests that had to be repeated so far, by reason."""
        found: dict[str, int] = {}
        for reason, count in (pair for poster in self._posters for pair in poster.retries.items()):
            found[reason] = found.get(reason, 0) + count
        return found

    def close(self) -> None:
        """Let go of the connections. May be repeated."""
        self._stack.close()

    def _post(self, kept: Ledger, quick: bool) -> Posting:
        """Asking for documents, which has patience, or for a question, which has not."""
        from penstock.connectors.http.posting import Poster
        from penstock.connectors.http.types import NetworkRules

        end = self._said
        seconds = end.query_seconds if quick else end.seconds
        patience = min(end.patience, seconds) if quick else end.patience
        budget, meter = self._budgets(kept, patience)
        self._meters.append(meter)
        poster = Poster(
            address(end.url),
            budget=budget,
            meter=meter,
            rules=NetworkRules(
                allow=end.allow,
                ca_file=Path(end.ca_file) if end.ca_file else None,
                connect_seconds=min(10.0, seconds),
                read_seconds=seconds,
                total_seconds=seconds,
                attempts=QUERY_ATTEMPTS if quick else end.attempts,
                retry_seconds=patience,
            ),
            headers=self._headers(),
            clock=wiring.clock,
            monotonic=time.monotonic,
            sleep=self._sleep,
            random=wiring.chance,
            redactor=REDACTOR,
        )
        self._posters.append(poster)
        self._stack.callback(poster.close)
        return Posting(poster)

    def _budgets(self, kept: Ledger, patience: float) -> tuple[SharedBudget, Meter]:
        """One for everybody who uses this endpoint with this key, over one ledger."""
        from penstock.connectors.http.budget import SharedBudget
        from penstock.connectors.http.holders import Holders
        from penstock.connectors.http.meter import Meter, MeterLimits
        from penstock.connectors.http.types import BudgetLimits

        end, holders = self._said, Holders(wiring.token)
        name = f"endpoint {urlsplit(end.url).hostname} {digest(address(end.url) + (end.key or ''))}"
        limits = MeterLimits(
            end.requests_per_minute,
            end.tokens_per_minute,
            end.max_tokens_per_day,
            end.max_tokens_per_run,
            self._window,
            patience,
        )
        faults = (OSError, Unavailable)
        clock, sleep = wiring.clock, self._sleep
        meter = Meter(name, limits, kept, clock=clock, sleep=sleep, host=holders.host, faults=faults)
        places = BudgetLimits(concurrency=end.concurrency, patience=patience)
        token, random = wiring.token, wiring.chance
        budget = SharedBudget(
            name,
            places,
            kept,
            clock=clock,
            sleep=sleep,
            random=random,
            token=token,
            holders=holders,
            faults=faults,
        )
        return budget, meter

    def _headers(self) -> dict[str, str]:
        """Raises `StopSource`, naming what is not set."""
        value = resolver(NAME, os.environ, prefect_block, REDACTOR)
        headers = {name: value(one) if REFERENCE.fullmatch(one) else one for name, one in self._said.headers.items()}
        if self._said.key is not None:
            headers["authorization"] = f"Bearer {value(self._said.key)}"
        return headers

    def _sleep(self, seconds: float) -> None:
        """Wait, but not for somebody who wants to stop. Raises `Halted`."""
        end = time.monotonic() + seconds
        while True:
            if self.stopped():
                raise Halted
            left = end - time.monotonic()
            if left <= 0:
                return
            wiring.sleep(min(left, 0.2))

    def _keep(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        from penstock.embed.cache import key_of

        if self._cache is not None and texts:
            key, cache = key_of(identity(self._settings)), self._cache()
            cache.put({key(text): vector for text, vector in zip(texts, vectors, strict=True)})
            cache.close()
