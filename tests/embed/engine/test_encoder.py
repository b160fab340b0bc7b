"""A vector is the model's, and depends on its ids alone."""

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.embed.engine import encoder
from penstock.embed.engine.encoder import NotFinite, TorchEncoder
from penstock.embed.engine.ordinary import Ordinary
from penstock.embed.models import Model, UnknownModel, identity
from penstock.embed.types import EncoderUnavailable
from tests.embed.variants import variants

TEXTS = [
    " ".join(f"word{k} about wings and boundary layers," for k in range(n % 37)) + f" {n}" for n in range(0, 60, 3)
]


def vectors(loaded: TorchEncoder, ids: list[tuple[int, ...]]) -> NDArray[np.float32]:
    out = np.full((len(ids), loaded.dim), np.nan, dtype=np.float32)
    for batch in loaded.encode(ids):
        out[batch.positions] = batch.vectors
    return out


@pytest.fixture(scope="module")
def ids(loaded: TorchEncoder) -> list[tuple[int, ...]]:
    sequences = [ids[:256] for ids in loaded.tokenizer.encode_batch(TEXTS)]
    return sequences + [tuple(range(1000, 1000 + n)) for n in (1, 15, 16, 17, 240, 255, 256, 256)]


@pytest.fixture(scope="module")
def together(loaded: TorchEncoder, ids: list[tuple[int, ...]]) -> NDArray[np.float32]:
    return vectors(loaded, ids)


def test_a_vector_is_the_same_bits_in_any_order(
    loaded: TorchEncoder, ids: list[tuple[int, ...]], together: NDArray[np.float32]
) -> None:
    """Shuffled, each sequence has other neighbours and another row."""
    order = list(range(len(ids)))
    random.Random(7).shuffle(order)
    assert np.array_equal(vectors(loaded, [ids[k] for k in order]), together[order])


def test_a_vector_is_the_same_bits_in_other_company(
    loaded: TorchEncoder, ids: list[tuple[int, ...]], together: NDArray[np.float32]
) -> None:
    """Half of the list, in which batches are filled otherwise."""
    assert np.array_equal(vectors(loaded, ids[::2]), together[::2])


def test_a_vector_is_the_same_bits_alone(
    loaded: TorchEncoder, ids: list[tuple[int, ...]], together: NDArray[np.float32]
) -> None:
    """One sequence by itself, of each kind: short, middling, one below full, full."""
    for k in (0, 5, 12, len(ids) - 8, len(ids) - 6, len(ids) - 3, len(ids) - 1):
        assert np.array_equal(vectors(loaded, [ids[k]])[0], together[k])


def test_a_vector_is_the_same_bits_from_another_thread(
    loaded: TorchEncoder, ids: list[tuple[int, ...]], together: NDArray[np.float32]
) -> None:
    """Thread counts belong to the process, so it does not matter who calls."""
    found: list[NDArray[np.float32]] = []
    thread = threading.Thread(target=lambda: found.append(vectors(loaded, ids[:4])))
    thread.start()
    thread.join()
    assert np.array_equal(found[0], together[:4])


def test_vectors_are_those_of_sentence_transformers(model: Model, loaded: TorchEncoder) -> None:
    """Against encode in fp32, in whatever format was chosen here."""
    reference = Ordinary.load(model, "cpu").network.encode(TEXTS, normalize_embeddings=True)
    cut = [ids if len(ids) <= 256 else (*ids[:255], ids[-1]) for ids in loaded.tokenizer.encode_batch(TEXTS)]
    assert float((vectors(loaded, cut) * reference).sum(axis=1).min()) >= 0.9995


def test_batches_come_longest_first_with_their_tokens_counted(loaded: TorchEncoder, ids: list[tuple[int, ...]]) -> None:
    """Tokens in are tokens embedded; padding is counted beside them."""
    batches = list(loaded.encode(ids))
    assert sum(batch.tokens for batch in batches) == sum(map(len, ids))
    assert all(batch.padded >= batch.tokens for batch in batches)
    longest = [max(len(ids[p]) for p in batch.positions) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert np.allclose(np.linalg.norm(np.concatenate([b.vectors for b in batches]), axis=1), 1, atol=1e-5)


def test_a_sequence_that_does_not_fit_raises_before_any_work(loaded: TorchEncoder) -> None:
    """Nothing is truncated, and no batch is computed before the refusal."""
    with pytest.raises(ValueError, match="257 tokens"):
        next(loaded.encode([(101, 102), tuple(range(1000, 1257))]))


def test_a_text_without_a_usable_vector_is_refused_and_the_others_land(
    loaded: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN or nothing instead of a vector is one document's trouble, and a question's error."""
    broken = np.eye(2, loaded.dim, dtype=np.float32)
    broken[1, 0] = broken[1, 1] = np.nan
    monkeypatch.setattr(loaded._path, "start", lambda rows, work, prompt=0: lambda: broken[: len(rows)])
    (batch,) = loaded.encode([(101, 5, 102), (101, 6, 102)])
    assert batch.positions.tolist() == [0]
    assert [(refused.position, refused.reason) for refused in batch.refused] == [(1, "not_finite")]
    with pytest.raises(NotFinite, match="lift"):
        loaded.encode_queries(["drag", "lift"])


def test_a_model_that_makes_one_vector_of_everything_stops_everybody(
    loaded: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of such a device can be believed; it is not the texts' fault."""
    same = np.tile(np.eye(1, loaded.dim, dtype=np.float32), (9, 1))
    monkeypatch.setattr(loaded._path, "start", lambda rows, work, prompt=0: lambda: same[: len(rows)])
    with pytest.raises(EncoderUnavailable, match="the same vector"):
        list(loaded.encode([(101, n, 102) for n in range(5, 14)]))


def test_each_batch_is_announced_before_it_is_computed(loaded: TorchEncoder) -> None:
    """Whoever watches the process knows what it was at when it died."""
    said: list[tuple[int, ...]] = []
    loaded.announce = lambda positions: said.append(tuple(positions))
    try:
        done = [tuple(batch.positions.tolist()) for batch in loaded.encode([(101, 5, 102)] * 3 + [(101, 6, 102)])]
    finally:
        loaded.announce = None
    assert said == done


@pytest.mark.parametrize("name", ["bert mean", "albert mean"])
def test_out_of_memory_at_any_batch_loses_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sequences are computed in smaller batches, each position once; unpadded, not a bit moves."""
    variants()[name](tmp_path / "model")
    tiny = encoder.load(str(tmp_path / "model"), dtype="float32")
    tiny._path.with_budget(128)
    ids = [tuple(range(5, 5 + n)) for n in (60, 3, 17, 40, 41, 9, 9, 9, 2, 33, 58, 1)]
    expected, start = vectors(tiny, ids), tiny._path.start
    batches = len(tiny._path.plan([len(sequence) for sequence in ids]))
    assert batches > 2
    for failing in range(batches):
        calls = iter(range(10_000))

        def sometimes(rows: Any, work: Any, *, prompt: int = 0, calls: Any = calls, failing: int = failing) -> Any:
            if next(calls) == failing:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return start(rows, work, prompt=prompt)

        monkeypatch.setattr(tiny._path, "start", sometimes)
        positions = [p for batch in tiny.encode(ids) for p in batch.positions.tolist()]
        assert sorted(positions) == list(range(len(ids)))
        assert np.allclose(vectors(tiny, ids), expected, atol=0 if name == "bert mean" else 1e-6)


def test_what_does_not_fit_alone_is_refused_and_the_others_land(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text that is too much for the device is one document's trouble."""
    variants()["bert mean"](tmp_path / "model")
    tiny = encoder.load(str(tmp_path / "model"), dtype="float32")
    start = tiny._path.start

    def small(rows: Any, work: Any, *, prompt: int = 0) -> Any:
        if any(len(row) == 60 and row[0] == 5 for row in rows):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return start(rows, work, prompt=prompt)

    monkeypatch.setattr(tiny._path, "start", small)
    batches = list(tiny.encode([tuple(range(5, 5 + n)) for n in (60, 30, 20, 48, 5)]))
    assert [refused.position for batch in batches for refused in batch.refused] == [0]
    assert sorted(p for batch in batches for p in batch.positions.tolist()) == [1, 2, 3, 4]


def test_a_question_is_embedded_like_a_document_when_there_is_no_prompt(loaded: TorchEncoder) -> None:
    """MiniLM has no prompts, so the same words give the same bits."""
    (expected,) = vectors(loaded, [loaded.tokenizer.encode("What is lift?")])
    assert np.array_equal(loaded.encode_queries(["drag", "What is lift?"])[1], expected)
    assert loaded.encode_queries([]).shape == (0, 384)


def test_a_question_that_is_too_long_is_cut_and_said(loaded: TorchEncoder, caplog: pytest.LogCaptureFixture) -> None:
    """Only questions are ever cut, to the model's length, and the log has it."""
    long, cut = loaded.encode_queries(["wing " * 300, "wing " * 254])
    assert np.array_equal(long, cut)
    assert "302 tokens was cut to the model's 256" in caplog.text


def test_identity_is_that_of_the_files_and_provenance_says_how(model: Model, loaded: TorchEncoder) -> None:
    """What was planned with is what was loaded; the number format and its reason are on record."""
    assert loaded.identity == identity(model)
    assert loaded.provenance["dtype"] in ("float32", "bfloat16")
    assert loaded.provenance["path"] == "fast"
    assert loaded.provenance["dtype_why"]
    assert all(isinstance(value, str) for value in loaded.provenance.values())


def test_a_model_of_another_kind_of_weights_is_one_clear_line(model: Model, tmp_path: object) -> None:
    """What the libraries raise about a file becomes UnknownModel with the model, the folder and what to do."""
    import shutil

    copy = Path(shutil.copytree(model.path, Path(str(tmp_path)) / "copy"))
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"not weights")
    with pytest.raises(
        UnknownModel, match=f"model {copy}: {copy} could not be loaded .*save the model again"
    ) as caught:
        encoder.load(str(copy))
    assert "\n" not in str(caught.value)


def test_ids_may_be_arrays(loaded: TorchEncoder) -> None:
    """A shard's ids are views of a mapped array: the vectors are those of the same ids as ints, bit for bit."""
    ids = [loaded.tokenizer.encode(text) for text in ("one two three", "a gate", "the boundary layer of a plate")]
    arrays = [np.asarray(sequence, dtype=np.uint32) for sequence in ids]
    for ours, theirs in zip(loaded.encode(ids), loaded.encode(arrays), strict=True):
        assert np.array_equal(ours.positions, theirs.positions)
        assert np.array_equal(ours.vectors, theirs.vectors)
