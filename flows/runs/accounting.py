"""What an ingest is asked for, and the account that it gives of itself.

Every listed document is in exactly one of six places; `deleted` and `withheld` count documents that are
no longer listed. An account that does not add up is an error of the run, never a rounding.
"""

from __future__ import annotations

import msgspec


class Retry(msgspec.Struct, frozen=True):
    """Which of the documents that are not indexed are tried again now. Empty: all that failed.

    `reason` is a word of `connectors/reasons.py`; a rejected document is meant only by its reason or its uri.
    """

    source: str = ""
    reason: str = ""
    uris: tuple[str, ...] = ()


class IngestRequest(msgspec.Struct, frozen=True):
    """One ingest, as a person or a deployment asks for it. Paths are strings, so that it travels as JSON."""

    home: str
    config: str | None = None
    targets: tuple[str, ...] = ()
    """Paths, or names of sources that the configuration or the index knows; empty: all configured sources."""
    name: str | None = None
    """The name of the source, where one folder is given and its own name does not do."""
    limit: int | None = None
    """At most this many documents are indexed; the others are deferred."""
    dry_run: bool = False
    confirm_deletions: int = 0
    """Believe it when at most this many documents of a source are gone at once."""
    since: float | None = None
    until: float | None = None
    """Only what changed at the source from `since` and before `until` (seconds since 1970); the rest is filtered."""
    budget_tokens: int | None = None
    budget_minutes: float | None = None
    """The run ends at a shard boundary when so much is spent; the rest is deferred."""
    full: bool = False
    """List everything, also of sources that can say what changed."""
    retry: Retry | None = None
    """Nothing is listed; exactly the documents that failed are done again."""
    priority: str | None = None
    """`urgent`, `scheduled` or `backfill`: who goes first where a device is wanted; None: as the sources say."""


class Shipment(msgspec.Struct, frozen=True):
    """How far one DR store was when the run ended, and what the run shipped there.

    What is behind is None where the DR store does not say. Lags are seconds from a commit to when it lay there whole,
    in the middle and at most. `problem`: why nothing is shipped any more, "" if nothing is in the way.
    """

    version: int = 0
    versions_behind: int | None = None
    bytes_behind: int | None = None
    seconds_behind: float | None = None
    shipped_versions: int = 0
    shipped_blobs: int = 0
    shipped_bytes: int = 0
    lag_p50: float = 0.0
    lag_max: float = 0.0
    problem: str = ""


class SourceAccount(msgspec.Struct, frozen=True):
    """What became of the documents of one source: as in `Accounting`. `waits`: how often nobody was allowed to ask it.

    `problem`: why it was not listed, "" if it was.
    """

    listed: int = 0
    unchanged: int = 0
    indexed: int = 0
    failed: int = 0
    rejected: int = 0
    filtered: int = 0
    deferred: int = 0
    deleted: int = 0
    withheld: int = 0
    gaps: int = 0
    waits: int = 0
    problem: str = ""


class Fresh(msgspec.Struct, frozen=True):
    """How fresh one source is in the index. Times are seconds since 1970, spans seconds.

    `as_of`: each change at the source before it is searchable, 0 if that is known of none. `objective`: how old that
    may be; None: nobody said. `breached_since`: since when it is older, 0 if it is not. The lags, from a change to when
    it was searchable, are those of the last run that met changes; `documents` is how many it met.
    """

    as_of: float = 0.0
    objective: float | None = None
    breached_since: float = 0.0
    documents: int = 0
    lag_p50: float = 0.0
    lag_p95: float = 0.0
    lag_max: float = 0.0


class Unbalanced(Exception):
    """The account does not add up: a document was lost or counted twice. Nothing of it can be trusted."""


class Accounting(msgspec.Struct):
    """What became of everything that was listed. `reasons`: status -> reason -> count."""

    listed: int = 0
    unchanged: int = 0
    indexed: int = 0
    failed: int = 0
    rejected: int = 0
    filtered: int = 0
    deferred: int = 0
    deleted: int = 0
    withheld: int = 0
    chunks: int = 0
    tokens: int = 0
    version: int = 0
    seconds: float = 0.0
    reasons: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    resumed: int = 0
    """Documents that were already prepared or embedded by a run that was interrupted."""
    tokens_per_second: float = 0.0
    """`embedded_tokens` by the seconds in which a device embedded; 0 where those are too few to say anything."""
    embedded_tokens: int = 0
    """Tokens that went through the model in this run; less than `tokens` where an interrupted run had done some."""
    taken_over_tokens: int = 0
    """Tokens of chunks that an interrupted run had embedded."""
    padded: int = 0
    """Tokens computed, padding counted; `embedded_tokens` does not count it."""
    stage_seconds: dict[str, float] = msgspec.field(default_factory=dict)
    messages: list[str] = msgspec.field(default_factory=list)
    gaps: int = 0
    """Parts of a source that could not be listed: what is known of them stays as it is."""
    would_delete: int = 0
    would_fetch_bytes: int = 0
    """Dry runs only; what would be indexed is counted as deferred."""
    would_new: int = 0
    would_change: int = 0
    would_retry: int = 0
    """Dry runs only: documents that would be done. `would_retry`: failed or rejected before, due again."""
    would_embed_tokens: int = 0
    would_reuse_tokens: int = 0
    """Dry runs only, estimated; the second: tokens of documents that moved, whose vectors are there."""
    would_take_minutes: float | None = None
    """Dry runs only, estimated; None where no run has measured this device yet."""
    unlisted: int = 0
    """Sources that could not be listed at all; nothing is known to have changed there."""
    reused_tokens: int = 0
    """Tokens of chunks whose vectors were there already: moved documents, equal texts, unchanged passages."""
    reused_chunks: int = 0
    """How many chunks those are."""
    reused_share: float = 0.0
    """`reused_tokens` of all tokens that needed a vector in this run, 0 to 1."""
    billed_tokens: int = 0
    """Tokens that somebody asks money for; 0 where the model runs here. Canaries and lost answers are among them."""
    cost: float | None = None
    """Of those, in the currency of the configured price; None where there is no price."""
    would_cost: float | None = None
    """Dry runs only, estimated."""
    quality: dict[str, float] = msgspec.field(default_factory=dict)
    """What the vectors of this run are like, and those before it; empty if none were committed."""
    next_try: float = 0.0
    """When the first of the failed documents is tried again by itself; 0 if none waits."""
    retries: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """Requests that were repeated: source -> reason -> count."""
    held: int = 0
    """Sources that are held since a rollback: they were not listed, and what is known of them stays."""
    held_asked: int = 0
    """Of those, the ones that were asked for by name."""
    held_lost: int = 0
    """Documents of such sources that were good on no replica: nothing embeds them again before the source goes on."""
    pages: int = 0
    page_seconds: float = 0.0
    """Pages that were read, of documents that have pages, and the processor seconds that took."""
    fetched: int = 0
    """Bodies that were fetched from a source."""
    ship: dict[str, Shipment] = msgspec.field(default_factory=dict)
    """DR store -> how far it is. Nothing of it changes what became of a document."""
    sources: dict[str, SourceAccount] = msgspec.field(default_factory=dict)
    """Source -> its part of this account; the parts add up to it."""
    freshness: dict[str, Fresh] = msgspec.field(default_factory=dict)
    """Source -> how fresh it is in the index after this run."""
    replicas: dict[str, int] = msgspec.field(default_factory=dict)
    """Replica -> the version that it was seen to publish last; empty if nothing was committed."""

    @property
    def would_do(self) -> int:
        """Dry runs only: documents that would be done; the rest of the deferred ones is beyond a limit."""
        return self.would_new + self.would_change + self.would_retry

    def check(self) -> None:
        """Raise `Unbalanced` unless every listed document is in exactly one state."""
        states = {name: getattr(self, name) for name in STATES}
        if self.listed != sum(states.values()):
            said = ", ".join(f"{name} {count}" for name, count in states.items())
            raise Unbalanced(
                f"{self.listed} documents were listed, but {sum(states.values())} accounted for ({said}); "
                "run `penstock verify`, then the same command again"
            )

    def exit_code(self) -> int:
        """1 if something is left to do or to confirm, else 0. A rejected document is a result."""
        left = (self.failed, self.deferred, self.withheld, self.gaps, self.unlisted, self.held_asked, self.held_lost)
        return 1 if any(left) else 0


STATES = ("unchanged", "indexed", "failed", "rejected", "filtered", "deferred")
