"""What a plan would cost, and how the next plan learns from a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.files import FilesOptions
from penstock.connectors.types import Item
from penstock.flows import model_wiring
from penstock.flows.answers.account_table import accounting
from penstock.flows.config.settings import Settings
from penstock.flows.config.source_settings import BudgetSettings, SourceSettings
from penstock.flows.plans import costs, throughput
from penstock.flows.plans.estimate import BYTES_PER_TOKEN, Estimate, Known, Pace, Speed, estimate, kind_of
from penstock.flows.plans.plan import DeletionGuard, Rules, SourcePlan, Todo, compare, defer_beyond
from penstock.flows.plans.planning import Planned, tokens_per_document
from penstock.flows.plans.throughput import Rate, Throughput
from penstock.flows.runs.accounting import Accounting, IngestRequest
from penstock.index.types import BlobRef, DocState, Manifest, Membership, SegmentRef, SpaceRef
from tests.flows.conftest import World

BLOB = BlobRef("b", 1, "")
RULES = Rules(DeletionGuard(), frozenset({"text/1"}))


def item(name: str, size: int = -1, version: str = "v") -> Item:
    return Item(f"s/{name}", name, version, size)


def state(name: str, size: int, tokens: int, version: str = "old", status: str = "indexed") -> DocState:
    return DocState(f"s/{name}", "s", status, version, size=size, tokens=tokens, chunks=1 if tokens else 0)


def planned(listing: Iterable[Item], states: Iterable[DocState]) -> SourcePlan:
    by_uri = {each.uri: each for each in states}

    def find(uris: Iterable[str]) -> Mapping[str, DocState]:
        return {uri: by_uri[uri] for uri in uris if uri in by_uri}

    return compare("s", listing, by_uri.values(), find, complete=True, rules=RULES)


def cost(plan: SourcePlan, speed: Speed | None = None, pace: Pace | None = None, average: float = 0.0) -> Estimate:
    return estimate([plan], speed or Speed(), {"s": pace or Pace()}, average)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("s/a.PDF", "pdf"),
        ("s/a.markdown", ""),
        ("s/a.md", "text"),
        ("s/b.tar.gz", ""),
        ("s/a.ndjson", "json"),
        ("s/v1.2", ""),
        ("s/pdf", ""),
        ("", ""),
    ],
)
def test_a_kind_is_guessed_by_the_suffix(uri: str, kind: str) -> None:
    """A few kinds only, so that what is kept for each stays small."""
    assert kind_of(uri) == kind


def test_new_changed_and_tried_again_are_told_apart() -> None:
    """A document that failed or was rejected before is neither new nor changed."""
    states = [state("b", 9, 3), state("c", 9, 0, status="failed"), state("d", 9, 0, status="rejected"),
              state("e", 9, 3, "v")]  # fmt: skip
    found = cost(planned([item(name, 9) for name in "abcde"], states))
    assert (found.new, found.changed, found.again) == (1, 1, 2)


def test_a_changed_document_is_taken_to_be_as_dense_as_it_was() -> None:
    """Whatever its kind; without a size it costs what it did."""
    assert cost(planned([item("a.pdf", 2000)], [state("a.pdf", 1000, 300)])).tokens == 600
    assert cost(planned([item("a.pdf")], [state("a.pdf", 1000, 300)])).tokens == 300
    assert cost(planned([item("a.pdf", 2000)], [state("a.pdf", -1, 300)])).tokens == 300


def test_a_new_document_is_as_dense_as_its_kind_in_this_source() -> None:
    """Else as the files that the defaults were measured on; a kind that the suffix hides, as the whole source."""
    states = [state("old.pdf", 1000, 10, "v"), state("old.md", 1000, 500, "v")]
    known = [item("old.pdf", 1000), item("old.md", 1000)]
    assert cost(planned([*known, item("new.pdf", 4000)], states)).tokens == 40
    assert cost(planned([*known, item("new.md", 4000)], states)).tokens == 2000
    assert cost(planned([*known, item("new.html", 19_000)], states)).tokens == 1000
    assert cost(planned([*known, item("new", 4000)], states)).tokens == 1020
    assert cost(planned([item("new.txt", 3000)], [])).tokens == 3000 / BYTES_PER_TOKEN["text"]
    assert cost(planned([item("new.xlsx", 0)], [])).tokens == 0


def test_where_no_size_is_known_documents_cost_the_average() -> None:
    """Of their kind in the source, else of the source, else of the index, else a guess."""
    states = [state("1", -1, 100, "v"), state("2", -1, 300, "v")]
    known = [item("1"), item("2")]
    assert cost(planned([*known, item("3")], states)).tokens == 200
    assert cost(planned([*known, item("3.md")], states)).tokens == 200
    assert cost(planned([item("3")], []), average=70.0).tokens == 70
    assert cost(planned([item("3")], [])).tokens == 500


def test_a_document_that_moved_costs_nothing() -> None:
    """Its vectors are there: its tokens count as reused."""
    found = cost(planned([item("new.md", 100, "same"), item("b.txt", 30)], [state("old.pdf", 100, 77, "same")]))
    assert (found.tokens, found.reused_tokens) == (10, 77)


def test_what_lies_beyond_a_limit_costs_nothing() -> None:
    """It is deferred."""
    plan = planned([item("a", 40), item("b", 40)], [])
    defer_beyond([plan], 1)
    found = cost(plan)
    assert (found.new, found.tokens, plan.deferred) == (1, 10, 1)


def test_minutes_are_those_of_the_slowest_stage() -> None:
    """Of the device with the model's loading, of fetching and parsing, or of what the source allows."""
    plan = planned([item(f"{n}.md", 3000) for n in range(60)], [])
    device = Speed(device=1000.0, load_seconds=6.0)
    assert cost(plan, device).minutes == pytest.approx((6 + 60) / 60)
    assert cost(plan, Speed(1000.0, 6.0, {"s": 100.0})).minutes == pytest.approx(10.0)
    assert cost(plan, device, Pace(per_second=0.1)).minutes == pytest.approx(10.0)
    assert cost(plan, device, Pace(per_day=30)).minutes == pytest.approx(24 * 60)
    assert cost(plan).minutes is None
    assert cost(planned([], [])).minutes == 0.0


def test_an_estimate_is_of_all_sources_together() -> None:
    """Their shards take turns."""
    one, other = planned([item("a", 4000)], []), planned([item("b", 4000)], [])
    found = estimate([one, other], Speed(100.0, 0.0, {"s": 50.0}), {})
    assert (found.new, found.tokens, found.minutes) == (2, 2000, pytest.approx(2000 / 50 / 60))


@given(
    st.lists(st.tuples(st.text(max_size=8), st.integers(-1, 10**12), st.booleans()), max_size=20),
    st.dictionaries(st.sampled_from(["", "pdf", "docx", "text"]), st.tuples(*[st.integers(0, 10**9)] * 4)),
)
def test_an_estimate_never_breaks_and_is_never_negative(
    todo: list[tuple[str, int, bool]], known: dict[str, tuple[int, int, int, int]]
) -> None:
    """Whatever sources say of sizes, and whatever is known."""
    plan = SourcePlan("s", True, known={kind: Known(*each) for kind, each in known.items()})
    plan.todo = [Todo(item(name, size), state(name, size, 5) if before else None) for name, size, before in todo]
    found = cost(plan, Speed(1.0), Pace(1.0, 1))
    assert found.new + found.changed + found.again == len(todo)
    assert found.tokens >= 0 and found.minutes is not None and found.minutes >= 0


def test_a_rate_is_remembered_and_read_again(tmp_path: Path) -> None:
    """By model, device and machine; the newest run counts, one of a few tokens does not."""
    throughput.remember(tmp_path / "cache", {"here": Rate(1000.0, 50_000, 1.0, 5.0)}, {"s": Rate(9.0, 50_000)}, "t")
    throughput.remember(tmp_path / "cache", {"here": Rate(10.0, 5)}, {"s": Rate(0.0, 50_000)}, "t")
    throughput.remember(tmp_path / "cache", {"there": Rate(7.0, 50_000)}, {}, "t")
    known, wrong = throughput.read(tmp_path / "cache")
    assert wrong == "" and set(known.devices) == {"here", "there"}
    assert known.speed("here") == Speed(1000.0, 5.0, {"s": 9.0})
    assert known.speed("elsewhere") == Speed(None, 0.0, {"s": 9.0})
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [throughput.FILE]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"devices": {"x": {"tokens_per_second": 0}}}', '{"devices": {"x": {"tokens_per_second": -1}}}',
     '{"sources": {"x": {"tokens_per_second": 1e999}}}', '{"format": 99}', "\udcff"],
)  # fmt: skip
def test_a_file_that_says_nonsense_says_nothing(tmp_path: Path, text: str) -> None:
    """What is wrong is said; the next run writes it anew. A missing file is no fault."""
    assert throughput.read(tmp_path) == (Throughput(), "")
    path = tmp_path / throughput.FILE
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    known, wrong = throughput.read(tmp_path)
    assert known == Throughput() and str(path) in wrong
    throughput.remember(tmp_path, {"here": Rate(5.0, 99_999)}, {}, "t")
    assert throughput.read(tmp_path)[0].speed("here").device == 5.0


def test_devices_differ_by_model_configuration_and_machine(tmp_path: Path) -> None:
    """Cards are named by the driver's files: nothing heavy is loaded to ask."""
    card = tmp_path / "driver/nvidia/gpus/0"
    card.mkdir(parents=True)
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A CPU\nmodel name\t: A CPU\n")
    assert throughput.hardware(tmp_path).endswith("cores, A CPU")
    (card / "information").write_text("Model: \t\t A Card\nIRQ: 1\n")
    machine = throughput.hardware(tmp_path)
    assert machine.endswith("cores, A CPU, A Card")
    keys = {
        throughput.device_key({"weights": w}, d, m) for w in "ab" for d in (None, "cpu") for m in (machine, "other")
    }
    assert len(keys) == 8


def test_a_plan_tells_what_a_run_then_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """New, changed, moved and deferred; the time is unknown until a run has measured this device."""
    monkeypatch.setattr(throughput, "LEAST", 1)
    for number in range(4):
        world.write(f"{number}.txt", f"document {number} " + "with some words in it " * 20)
    first = world.ingest(dry_run=True)
    assert (first.would_new, first.deferred, first.would_take_minutes) == (4, 4, None)
    assert not world.home.exists()
    assert world.ingest().indexed == 4
    idle = world.ingest(dry_run=True)
    assert (idle.would_do, idle.would_embed_tokens, idle.would_take_minutes) == (0, 0, 0.0)
    (world.docs / "0.txt").rename(world.docs / "new name.txt")
    world.write("1.txt", "changed altogether " * 40)
    world.write("4.txt", "a new one " * 30)
    told = world.ingest(dry_run=True)
    assert (told.would_new, told.would_change, told.would_delete) == (2, 1, 1)
    assert told.would_take_minutes is not None and told.would_reuse_tokens > 50
    limited = world.ingest(dry_run=True, limit=1, budget_tokens=5)
    assert (limited.would_do, limited.deferred) == (1, 3)
    assert any("a budget of 5 tokens would end the run" in message for message in limited.messages)
    shard = world.home / "spool" / "shard-1"
    shard.mkdir()
    (shard / "shard.json").write_text("{}")
    assert "1 shard lies prepared in the spool" in " ".join(world.ingest(dry_run=True).messages)
    shutil.rmtree(shard)
    done = world.ingest()
    assert done.reused_tokens == told.would_reuse_tokens
    assert told.would_embed_tokens == pytest.approx(done.embedded_tokens, rel=0.5)


def test_a_slow_source_and_an_average_of_the_whole_index_are_taken_into_account(tmp_path: Path) -> None:
    """Documents of a changes feed have no size, and no listing says what others of the source are like."""
    budget = BudgetSettings(requests_per_second=0.5)
    said = SourceSettings(FilesOptions(path="unused"), "sql", budget=budget)
    settings = Settings(sources={"tickets": said, "docs": SourceSettings(FilesOptions(path="/d"), budget=budget)})
    key = throughput.device_key(model_wiring.model_identity(settings), None, throughput.hardware())
    throughput.remember(tmp_path / "cache", {key: Rate(1000.0, 50_000, 1.0, 5.0)}, {}, "t")
    space = SpaceRef(4, segments=tuple(SegmentRef(n, "flat", 50, BLOB, BLOB, BLOB, tokens=1000) for n in "ab"))
    counts = {"documents": 20, "chunks": 80}
    head = Manifest(2, "", 1, 1, "", "", 0.0, Membership((), 1), spaces={"default": space}, counts=counts)
    plan = SourcePlan("tickets", False, todo=[Todo(Item(f"tickets/{n}", "", "v"), None) for n in range(300)])
    told = Planned(1, {}, None, [], plans=[plan], tokens_per_document=tokens_per_document(head))
    account = Accounting()
    costs.foretell(IngestRequest(str(tmp_path), budget_minutes=2), settings, told, account)
    assert (account.would_new, account.would_embed_tokens) == (300, 300 * 80)
    assert account.would_take_minutes == 10.0
    assert account.messages == ["a budget of 2 minutes would end the run before all is done"]
    assert tokens_per_document(msgspec.structs.replace(head, counts={})) == 0.0


def test_a_damaged_memory_of_speed_is_said_and_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for cost only: no run fails for it."""
    monkeypatch.setattr(throughput, "LEAST", 1)
    world.write("a.txt", "text")
    world.ingest()
    file = world.home / "cache" / throughput.FILE
    assert json.loads(file.read_bytes())["devices"]
    file.write_text("{")
    world.write("b.txt", "another text")
    told = world.ingest(dry_run=True)
    assert told.would_take_minutes is None
    assert any("throughput.json is damaged: how long it takes is not known" in message for message in told.messages)
    file.unlink()
    file.mkdir()
    assert world.ingest().indexed == 1


def test_a_plan_shows_what_is_deferred_beside_what_would_be_done() -> None:
    """With tokens and minutes as rough as they are."""
    account = Accounting(
        listed=20, unchanged=4, deferred=10, failed=2, rejected=4, reasons={"rejected": {"no_text": 4}},
        would_new=3, would_change=2, would_retry=1, would_fetch_bytes=9, would_embed_tokens=123_456,
        would_reuse_tokens=789, would_take_minutes=3.5,
    )  # fmt: skip
    account.check()
    lines = [" ".join(line.split()) for line in accounting(account, dry_run=True).splitlines()]
    assert lines[0] == "A run would process 6 documents, fetch 9 B. Nothing was changed."
    for line in (
        "to index 6", "new 3", "changed 2", "tried again 1", "deferred 4 beyond the limit", "failed before 2",
        "rejected before 4 no_text 4", "to embed about 120,000 tokens",
        "to reuse about 790 tokens their vectors are there",
        "time about 3 min 30 s on this device",
    ):  # fmt: skip
        assert line in lines
    account.would_take_minutes = 0.01
    assert "less than a minute" in accounting(account, dry_run=True)
    account.would_take_minutes, account.would_fetch_bytes = None, 0
    assert "the source tells no sizes" in accounting(account, dry_run=True)
    assert "unknown" in accounting(account, dry_run=True)
