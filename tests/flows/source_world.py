"""A home that ingests two living sources, without parser processes, and what must hold after each of its runs."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors import registry
from penstock.connectors.types import Document, Failed, Fetched, Rejected, SourceError
from penstock.embed import models, tokenize
from penstock.embed.chunking import chunk
from penstock.flows import model_wiring, wiring
from penstock.flows.config.settings import load
from penstock.flows.plans import adoption
from penstock.flows.runs import embedding
from penstock.flows.runs.accounting import Accounting, Retry
from penstock.flows.sources.source_wiring import Sources
from penstock.flows.spools.spool import Shard
from penstock.index.reading.reader import Reader
from penstock.index.types import DocState
from tests.flows.children import served
from tests.flows.conftest import World
from tests.flows.deaths import OURS, POINTS, Death, Reaper
from tests.flows.source_history import History, Lived

AHEAD = 3
"""Documents that are worked on at once: so many bodies a death may cost, and the one in hand."""
ROWS = 4
"""Vectors in a batch: so many a death may cost."""
GUARD = 20


class Parser:
    """Parses in this process. Of version 1 it cannot read what begins with `odd`."""

    def __init__(self) -> None:
        self.version = 1

    @property
    def name(self) -> str:
        return f"text/{self.version}"

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def parse(self, fetched: Fetched) -> Document | Rejected | Failed:
        data = fetched.path.read_bytes()
        text, content = data.decode(), hashlib.sha256(data).hexdigest()
        if not text.strip() or (text.startswith("odd") and self.version == 1):
            reason = "unsupported" if text.strip() else "empty"
            return Rejected(reason, "not to be read", content, fetched.version, self.name)
        return Document(text, "text", content, fetched.version, self.name, labels=fetched.labels)


class Model:
    """One home, two sources, and a memory of what was."""

    def __init__(self, world: World, folder: Path, dice: random.Random, patch: pytest.MonkeyPatch) -> None:
        self.world, self.dice, self.config = world, dice, folder / "penstock.toml"
        self.reaper, self.parser, self.now = Reaper(patch), Parser(), 1_800_000_000.0
        self.history = History(dice, lambda: self.reaper.reach("source.asked"))
        self.labels: dict[str, tuple[str, ...]] = {"far": (), "near": ()}
        self.deaths, self.said = 0, ""
        self.let_go = 0
        """Bodies in shards that a run for a part of a source could not use up without losing more, and what a listing
        left out that was there."""
        self.bodies: Counter[tuple[str, str, str]] = Counter()
        """(uri, version, under what) of each body that was fetched."""
        self._patch(patch)
        self.configure()

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        patch.setitem(registry._BUILT_IN, "fake", "tests.fakes.source")
        registry.connector.cache_clear()
        patch.setattr(tokenize, "document_tokenizer", cache(tokenize.document_tokenizer))
        patch.setattr(os, "fsync", lambda fd: None)  # processes die here, not machines
        patch.setattr(wiring, "clock", self._clock)
        self.use_of = adoption.use_of
        patch.setattr(adoption, "use_of", self._use_of)
        patch.setattr(wiring, "parser_pool", lambda settings: self.parser)
        patch.setattr(wiring, "parsers", lambda settings: frozenset({self.parser.name}))
        patch.setattr(wiring, "parse_workers", lambda settings: 0)
        patch.setattr(Sources, "ahead", lambda sources, name: AHEAD - 2)
        patch.setattr(wiring, "ShardLimits", partial(wiring.ShardLimits, first_tokens=900, growth=1))
        patch.setattr(embedding, "Embedder", partial(embedding.Embedder, flush_seconds=0.0))

    def _use_of(self, shard: Shard, *about: Any) -> adoption.Use:
        use = self.use_of(shard, *about)
        left_out = next(each.place.left_out for each in self.history.sources if each.name == shard.marker.source)
        lies = sum(state.uri.partition("/")[2] in left_out for state in shard.states())
        self.let_go += (use.later if use.worth else len(use.wanted)) + lies
        return use

    def _clock(self) -> float:
        self.now += 0.001
        return self.now

    def configure(self) -> None:
        self.config.write_text(
            "".join(
                f'[sources.{name}]\ntype = "fake"\nfed = {str(name == "far").lower()}\nlabels = {list(labels)}\n'
                for name, labels in self.labels.items()
            )
        )

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────

    def ingest(self, *targets: str, **options: Any) -> Accounting | None:
        """One run, and everything that must hold after it. None if it died, or a source would not be listed."""
        self.now += 1.0
        before, ended = self.states(), "well"
        for source in self.history.sources:
            source.place.fetched.clear()
            source.place.listings.clear()
            source.asked.clear()
        try:
            account = self.world.ingest(*targets, config=str(self.config), **options)
        except (Death, SourceError) as error:
            account, ended = None, repr(error)
        finally:
            died, self.reaper.dead = self.reaper.dead, False
            self.deaths += died
            self.reaper.bury()
            self.reaper.arm()
            self.said = f"{targets} {options}, ended: {ended}"
        if account is not None:
            account.check()
        self._count_bodies()
        after = self.states()
        self._nobody_was_asked_too_soon(before, options.get("retry") is not None)
        self._everything_served_was_there(after)
        self._nothing_was_deleted_unseen(before, after, options.get("confirm_deletions", 0))
        self._no_cursor_passed_anything(after)
        self._only_so_much_was_paid()
        return account

    def some_run(self) -> None:
        """A run as a person, a schedule and bad luck may have it."""
        dice = self.dice
        options: dict[str, Any] = {}
        if dice.random() < 0.15:
            options["limit"] = dice.randint(1, 6)
        if dice.random() < 0.10:
            options["budget_tokens"] = dice.randint(1, 2_000)
        if dice.random() < 0.10:
            options["since"] = 1_500.0
        if dice.random() < 0.15:
            options["full"] = True
        if dice.random() < 0.15:
            options["confirm_deletions"] = dice.randint(1, 30)
        if dice.random() < 0.08:
            options = {"retry": Retry()}
        targets = dice.choice([("far", "near"), ("far", "near"), ("far",), ("near",)])
        if dice.random() < 0.45:
            self.reaper.arm(dice.choice(dice.choice([OURS, POINTS])), dice.choice([1, 1, 2, 3, 5]))
        self.ingest(*targets, **options)

    def some_change_of_configuration(self) -> None:
        if self.dice.random() < 0.5:
            self.labels[self.dice.choice(["far", "near"])] = self.dice.choice([(), ("secret",), ("open",)])
        else:
            self.parser.version = 2
        self.configure()

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────

    def states(self) -> dict[str, DocState]:
        if not (self.world.home / "catalog.db").exists():
            return {}
        with Reader.open(self.world.home) as reader:
            return {state.uri: state for state in reader.states()}

    def cursors(self) -> dict[str, int]:
        with Reader.open(self.world.home) as reader:
            return {name: int(state.cursor or 0) for name, state in reader.manifest.sources.items()}

    def _lived(self, uri: str) -> tuple[Lived, str]:
        name, _, rest = uri.partition("/")
        return next(each for each in self.history.sources if each.name == name), rest

    def _count_bodies(self) -> None:
        under = f"{self.parser.name} {self.labels}"
        for source in self.history.sources:
            self.bodies.update((f"{source.name}/{name}", version, under) for name, version in source.place.bodies)
            source.place.bodies.clear()

    def _everything_served_was_there(self, states: dict[str, DocState]) -> None:
        """Each document is served whole, as it once was, and what is indexed as the version that its state says."""
        if not states:
            return
        with Reader.open(self.world.home) as reader:
            rows: dict[str, list[Any]] = {}
            for passage in reader.passages(sorted(states)):
                rows.setdefault(passage.row.uri, []).append(passage.row)
            assert sum(map(len, rows.values())) == reader.manifest.counts.get("chunks", 0), self.said
        for uri, state in states.items():
            source, name = self._lived(uri)
            ever, mine = source.ever[name], sorted(rows.get(uri, []), key=lambda row: row.start)
            assert len(mine) == state.chunks, (self.said, state)
            if state.status != "indexed":
                assert state.reason, (self.said, state)
            whole = [ever[state.version]] if state.status == "indexed" else list(ever.values())
            said = [(row.start, row.end, row.text) for row in mine]
            assert not mine or said in [self.cut(held.text) for held in whole], (self.said, state)
            if state.status == "indexed":
                assert mine, (self.said, state)
                said_labels = {frozenset(row.labels) - {"secret", "open"} for row in mine}
                assert said_labels == {frozenset(ever[state.version].labels)}, (self.said, state)

    def _nobody_was_asked_too_soon(self, before: dict[str, DocState], retry: bool) -> None:
        for source in self.history.sources:
            for name, version in source.asked if not retry else ():
                state = before.get(f"{source.name}/{name}")
                if state is not None and (state.status, state.version) == ("failed", version):
                    assert state.next_try <= self.now, (self.said, state)

    def _nothing_was_deleted_unseen(
        self, before: dict[str, DocState], after: dict[str, DocState], confirmed: int
    ) -> None:
        for source in self.history.sources:
            mine = [uri for uri in before if uri.startswith(f"{source.name}/")]
            gone = [uri for uri in mine if uri not in after]
            for uri in gone:
                name = uri.partition("/")[2]
                place = source.place
                assert name not in place.held or name in place.left_out, (self.said, uri)
                assert not (place.gap and name.startswith(place.gap) and "full" in place.listings), (self.said, uri)
                for key in [key for key in self.bodies if key[0] == uri]:
                    del self.bodies[key]
            assert source.place.listings or not gone, (self.said, gone)
            most = max(confirmed, GUARD, int(0.2 * len(mine)))
            assert len(gone) <= most, (self.said, len(gone), len(mine))

    def _no_cursor_passed_anything(self, after: dict[str, DocState]) -> None:
        """Whatever the feed told before the cursor is in the index: that version or a later one, or that it is gone."""
        if not after:
            return
        cursor = self.cursors().get("far", 0)
        far = self.history.sources[0]
        last = {name: number for number, name in far.place.feed[:cursor] if number not in far.place.untold}
        for name, number in last.items():
            state, version = after.get(f"far/{name}"), f"v{number}"
            if state is None:
                unseen = version not in far.ever.get(name, {}) or name not in far.place.held or name in far.lied
                assert unseen, (self.said, name, number)
            else:
                there = int(state.version.removeprefix("v")) >= number or version not in far.ever[name]
                assert there, (self.said, state, number)

    def _only_so_much_was_paid(self) -> None:
        twice = sum(count - 1 for count in self.bodies.values())
        most = self.deaths * (AHEAD + 2) + self.let_go
        assert twice <= most, (self.said, [k for k, n in self.bodies.items() if n > 1])
        texts = Counter(self.world.encoder.embedded)
        assert texts.total() - len(texts) <= self.deaths * ROWS, self.said

    def cut(self, text: str) -> list[tuple[int, int, str]]:
        if text not in _CUT:
            settings = load(None)
            tokenizer = tokenize.document_tokenizer(models.resolve(settings.embed.model))
            size, overlap = model_wiring.chunking(settings)
            cut = chunk.chunk(text, tokenizer=tokenizer, size=size, overlap=overlap)
            _CUT[text] = [(each.start, each.end, each.text) for each in cut]
        return _CUT[text]

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────

    def ends_as_a_clean_build(self) -> None:
        """Without faults and with time, all is as if it had been built at once; then there is nothing to do."""
        self.history.peace()
        for _ in range(4):
            self.now += 90_000
            self.ingest("far", "near", confirm_deletions=1_000)
        account = self.ingest("far", "near")
        assert account is not None and account.exit_code() == 0, (self.said, account)
        again = self.ingest("far", "near")
        assert again is not None and (again.fetched, again.version) == (0, account.version), again
        assert not list((self.world.home / "spool").glob("shard-*"))
        mine, home = (self.outcome(), served(self.world.home)), self.world.home
        self.world.home = home.with_name("clean")
        self.bodies.clear()
        self.world.encoder.embedded.clear()
        self.world.ingest("far", "near", config=str(self.config))
        self.world.ingest("far", "near", config=str(self.config))
        clean = self.outcome()
        assert mine[0] == clean, sorted(set(mine[0]) ^ set(clean), key=str)
        assert mine[1] == served(self.world.home)

    def outcome(self) -> list[tuple[object, ...]]:
        """Every document with its state, and every row."""
        states = self.states()
        with Reader.open(self.world.home) as reader:
            rows = [each.row for each in reader.passages(sorted(states))]
        return [
            *sorted((s.uri, s.status, s.version, s.content, s.reason, s.chunks) for s in states.values()),
            *sorted((row.uri, row.chunk_id, row.text, tuple(sorted(row.labels))) for row in rows),
        ]


_CUT: dict[str, list[tuple[int, int, str]]] = {}
