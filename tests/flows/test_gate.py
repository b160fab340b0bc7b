"""The gate between a model and an index: who passes, what is kept, what is said."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from penstock.embed.quality import canaries
from penstock.embed.quality.canaries import Prepared
from penstock.flows.runs import gate as gates
from penstock.flows.runs.gate import Drifted, Gate
from penstock.index.types import BlobRef, Row, SegmentRef, SpaceRef
from tests.fakes.encoder import DIM, HashEncoder, turned, vector

NOWHERE = BlobRef("x", 1, "")
SEGMENT = SegmentRef("s", "flat", 1, NOWHERE, NOWHERE, NOWHERE)


class Loads:
    """A model that is there at once."""

    def __init__(self, encoder: HashEncoder) -> None:
        self._encoder = encoder

    def ready(self) -> HashEncoder:
        return self._encoder

    def close(self) -> None:
        self._encoder.close()


def prepare(name: str) -> Prepared:
    """Canaries without a tokenizer: their letters."""
    texts = tuple(canary.text for canary in canaries.SETS[name])
    return Prepared(name, tuple(tuple(text.encode()[:200]) for text in texts), texts)


def gate(space: SpaceRef | None, notes: list[str] | None = None) -> Gate:
    said = notes if notes is not None else []
    return Gate(space, prepare, said.append)


def lot(count: int = 3, seed: int = 0) -> gates.Lot:
    rows = [Row(f"{n}", f"s/{seed}/{n}", "t", 0, 1, 10 + n) for n in range(count)]
    return gates.measured(np.stack([vector([seed, n]) for n in range(count)]), rows)


def made(encoder: HashEncoder | None = None, *lots: gates.Lot) -> SpaceRef:
    """A space that `encoder` made."""
    first = gate(None)
    first.admit(encoder or HashEncoder())
    space = SpaceRef(DIM)
    for each in lots or (lot(),):
        space = first.join(each)(space)
    return msgspec.structs.replace(space, segments=(SEGMENT,))


def test_the_first_model_of_a_space_leaves_its_canaries() -> None:
    """With its provenance, and the ids of the short ones; nothing is noted, there is nothing special about it."""
    notes: list[str] = []
    first = gate(None, notes)
    first.admit(HashEncoder())
    kept = first.join(lot())(SpaceRef(DIM)).canaries
    assert kept is not None and notes == []
    assert (kept.texts, kept.provenance["device"]) == (canaries.NEWEST, "fake")
    assert kept.ids == prepare(canaries.NEWEST).ids[: canaries.QUICK]
    assert len(kept.vectors) == 16 * DIM * 2


@pytest.mark.parametrize(("cosine", "passes"), [(1.0, True), (0.99902, True), (0.99898, False), (0.5, False)])
def test_a_model_passes_from_a_cosine_of_0_999(cosine: float, passes: bool) -> None:
    """On either side of the limit, as far as float16 can tell."""
    guarded = gate(made()).guarding({"fake": Loads(HashEncoder(cosine=cosine))})["fake"]
    if passes:
        assert guarded.ready().dim == DIM
    else:
        with pytest.raises(Drifted):
            guarded.ready()


def test_one_canary_that_differs_is_enough_and_is_named() -> None:
    """A model that only goes wrong on long texts, say."""

    class LongOnes(HashEncoder):
        def _vector(self, ids):  # type: ignore[no-untyped-def]
            return turned(vector(ids), 0.9) if len(ids) > 190 else vector(ids)

    with pytest.raises(Drifted, match=r"1 of 16 .* worst at 0\.9000 \(a paragraph\)"):
        gate(made()).admit(LongOnes())


def test_a_refusal_is_silent_about_what_always_differs() -> None:
    """What each process measures anew is no reason; and it says what becomes of what is prepared."""
    other = HashEncoder(cosine=0.9)
    other.provenance = {**other.provenance, "device": "H100", "budget": "8192", "dtype_why": "2.7x", "pid": "7"}
    with pytest.raises(Drifted) as raised:
        gate(made()).admit(other)
    said = str(raised.value)
    assert "device fake then, H100 now" in said and "prepared is kept" in said
    assert "_why" not in said and "budget" not in said and "pid" not in said


def test_a_refusal_says_what_differs_and_what_to_do() -> None:
    """Device and dtype first, what is the same not at all, and no value that fills the screen."""
    other = HashEncoder(cosine=0.9)
    other.provenance = {"device": "H100", "dtype": "bfloat16", "torch": "3", "cpu_flags": "x" * 90}
    with pytest.raises(Drifted) as raised:
        gate(made()).admit(other)
    said = str(raised.value)
    assert "device fake then, H100 now; dtype float32 then, bfloat16 now; torch unknown then, 3 now" in said
    assert "xxx" not in said and "Nothing was written" in said and 'dtype = "float32"' in said and "--home" in said
    with pytest.raises(Drifted, match="the same as then"):
        gate(made()).admit(HashEncoder(cosine=0.9))


def test_canaries_are_kept_as_they_were_first() -> None:
    """A model that passes does not replace them, or small steps would lead anywhere."""
    space = made()
    second = gate(space)
    second.admit(HashEncoder(cosine=0.9995))
    assert second.join(lot())(space).canaries == space.canaries
    with pytest.raises(Drifted):
        gate(space).admit(HashEncoder(cosine=0.9985))


def test_an_index_from_before_takes_those_of_its_next_vectors_and_says_so() -> None:
    """Once, whatever number of devices there is."""
    notes: list[str] = []
    old = SpaceRef(DIM, segments=(SEGMENT,))
    adopting = gate(old, notes)
    adopting.admit(HashEncoder())
    adopting.admit(HashEncoder())
    assert len(notes) == 1 and "no canaries yet" in notes[0]
    assert adopting.join(lot())(old).canaries is not None


def test_devices_of_one_run_must_agree_with_each_other() -> None:
    """Also where the index has nothing to say yet."""
    first = gate(None)
    first.admit(HashEncoder())
    with pytest.raises(Drifted, match="another device of this run"):
        first.admit(HashEncoder(cosine=0.9))


def test_a_run_beside_this_one_may_have_been_the_first() -> None:
    """The commit is refused on the head that the other made, if the two do not agree."""
    theirs = made(HashEncoder(cosine=0.9))
    mine = gate(None)
    mine.admit(HashEncoder())
    mine.join(lot())(made())
    with pytest.raises(Drifted):
        mine.join(lot())(theirs)


def test_canaries_of_a_set_to_come_are_left_alone_and_noted() -> None:
    """A newer penstock made the index: nothing can be compared, and its canaries stay."""
    notes: list[str] = []
    space = made()
    assert space.canaries is not None
    space = msgspec.structs.replace(space, canaries=msgspec.structs.replace(space.canaries, texts="99"))
    newer = gate(space, notes)
    newer.admit(HashEncoder(cosine=0.5))
    assert newer.join(lot())(space).canaries == space.canaries
    assert len(notes) == 1 and "set 99" in notes[0]
    assert gates.doubt(space, HashEncoder(cosine=0.5)) is None


def test_the_baseline_grows_with_each_commit_and_survives_its_bytes() -> None:
    """What is read back from the index is what was added to it."""
    space = made(None, lot(3, 0), lot(4, 1), lot(5, 2))
    assert space.baseline is not None
    kept, straight = gates.lot_of(space.baseline), lot(3, 0) + lot(4, 1) + lot(5, 2)
    assert kept is not None and kept.figures == straight.figures
    assert np.allclose(kept.vector, straight.vector, atol=1e-5)
    assert kept.figures["commits"] == 3 and kept.figures["documents"] == 12


def test_a_baseline_of_another_kind_begins_anew() -> None:
    """Sums of different things are not added."""
    space = made()
    assert space.baseline is not None
    other = msgspec.structs.replace(space, baseline=msgspec.structs.replace(space.baseline, kind="0"))
    passed = gate(other)
    passed.admit(HashEncoder())
    baseline = passed.join(lot(5, 9))(other).baseline
    assert baseline is not None and baseline.figures == lot(5, 9).figures
    passed.landed(lot(5, 9))
    assert passed.told() == [] and "centroid_cosine" not in passed.figures()


def test_a_run_is_compared_with_what_was_there_before_it() -> None:
    """All of its commits together, and not with itself."""
    space = made(None, *(lot(50, seed) for seed in range(3)))
    run = gate(space)
    assert (run.told(), run.figures()) == ([], {})
    one = vector([1])
    rows = [Row(f"{n}", f"s/x/{n}", "t", 0, 1, 50) for n in range(30)]
    same = gates.measured(np.repeat(one[None], 30, axis=0), rows)
    run.landed(same)
    run.landed(same)
    assert any("lie elsewhere" in line for line in run.told())
    assert run.figures()["documents"] == 60 and run.figures()["before_documents"] == 150
    assert msgspec.json.decode(msgspec.json.encode(run.figures())) == run.figures()


def test_vectors_without_a_model_do_not_join() -> None:
    """A mistake of ours, not of the user's."""
    with pytest.raises(RuntimeError, match="passed the gate"):
        gate(None).join(lot())(SpaceRef(DIM))


def test_who_asks_is_warned_by_two_short_canaries() -> None:
    """Agreeing, and from before canaries: silent; disagreeing: a cosine and what differs, in one line."""
    assert gates.doubt(made(), HashEncoder()) is None
    assert gates.doubt(SpaceRef(DIM), HashEncoder(cosine=0.5)) is None
    other = HashEncoder(cosine=0.9)
    other.provenance = {"device": "H100", "dtype": "float32"}
    said = gates.doubt(made(), other)
    assert said is not None and "cosine 0.9000; device fake then, H100 now" in said and "\n" not in said


def test_an_endpoint_is_not_asked_for_canaries_with_each_question() -> None:
    """That would be a request more; runs ask it."""
    far = HashEncoder(cosine=0.5)
    far.provenance = {"device": "endpoint-1", "endpoint": "example.org"}
    assert gates.doubt(made(), far) is None and far.canaries == 0
    with pytest.raises(Drifted):
        gate(made()).admit(far)


def test_closing_a_guarded_model_closes_the_model() -> None:
    """Whether it passed or not."""
    closed: list[bool] = []

    class Closing(HashEncoder):
        def close(self) -> None:
            closed.append(True)

    guarded = gate(made()).guarding({"fake": Loads(Closing(cosine=0.5))})["fake"]
    with pytest.raises(Drifted):
        guarded.ready()
    guarded.close()
    assert closed
