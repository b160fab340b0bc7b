"""The questions of a drill are made once, kept, and made anew when they are another index's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.flows.recovery import probes
from penstock.flows.recovery.probes import Probes
from penstock.index.reading.reader import Reader
from tests.index.world import DIM, World, delta


class Bench:
    """A home, its reader, and what was said; `asked` is what had to be embedded."""

    def __init__(self, folder: Path) -> None:
        self.world, self.home = World(folder / "home"), folder / "home"
        self.questions = folder / "questions.txt"
        self.asked: list[list[str]] = []
        self.lines: list[str] = []
        with self.world.create() as writer:
            writer.commit(delta(0, {f"s/{n}": f"word{n} more{n}" for n in range(30)}))

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        self.asked.append(texts)
        return np.stack([np.full(DIM, len(text), np.float32) for text in texts])

    def probes(self, questions: bool = False) -> Probes:
        with Reader.open(self.home) as reader:
            path = self.questions if questions else None
            return probes.of(self.home, reader, path, self.encode, self.lines.append)

    @property
    def file(self) -> Path:
        return self.home / "drill" / "probes.json"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_a_file_the_index_asks_for_its_own_passages(bench: Bench) -> None:
    """No model; each vector has its own passage as the first hit; the next drill asks the same."""
    made = bench.probes()
    assert (made.made_from, len(made.probes), made.dim) == ("passages", 32, DIM)
    with Reader.open(bench.home) as reader:
        first = [hits[0].text for hits in reader.search(made.vectors, 1)]
    assert first == made.texts
    assert bench.probes() == made and bench.asked == bench.lines == []


def test_questions_of_a_file_are_embedded_once(bench: Bench) -> None:
    """Another file makes them anew; blank lines are none, and a byte order mark is no letter."""
    bench.questions.write_text("\ufeffWho decides?\n\n  What is kept? \n")
    made = bench.probes(questions=True)
    assert (made.made_from, made.texts) == ("questions", ["Who decides?", "What is kept?"])
    assert made.vectors.tolist() == [[12.0] * DIM, [13.0] * DIM]
    assert bench.probes(questions=True) == made and len(bench.asked) == 1
    bench.questions.write_text("Who?\n")
    assert bench.probes(questions=True).texts == ["Who?"] and len(bench.asked) == 2
    assert bench.probes().made_from == "passages"


def test_without_a_model_passages_serve(bench: Bench) -> None:
    """A drill does not depend on what can be embedded here; that the questions were not asked is said."""
    bench.questions.write_text("Who decides?\n")

    def broken(texts: list[str]) -> NDArray[np.float32]:
        raise RuntimeError("no model here")

    bench.encode = broken  # type: ignore[method-assign]
    assert bench.probes(questions=True).made_from == "passages"
    assert "no model here" in bench.lines[0]
    bench.encode = lambda texts: np.ones((len(texts), DIM + 1), np.float32)  # type: ignore[method-assign]
    assert bench.probes(questions=True).made_from == "passages"
    assert f"those of the index have {DIM}" in bench.lines[1]


@pytest.mark.parametrize("content", [None, b"", b"not text: \xff", b"\n \n"])
def test_a_file_that_holds_no_question_is_named(bench: Bench, content: bytes | None) -> None:
    """And passages are asked for instead."""
    if content is not None:
        bench.questions.write_bytes(content)
    assert bench.probes(questions=True).made_from == "passages"
    assert len(bench.lines) == 1 and str(bench.questions) in bench.lines[0]


@pytest.mark.parametrize("at", [0, 100, -40, -1])
def test_damage_makes_them_anew(bench: Bench, at: int) -> None:
    """Any byte; it is said, and the same come out, since the index is the same."""
    made = bench.probes()
    data = bytearray(bench.file.read_bytes())
    data[at] ^= 1
    bench.file.write_bytes(data)
    assert bench.probes() == made
    assert len(bench.lines) == 1 and "made anew" in bench.lines[0]
    bench.lines.clear()
    bench.file.write_bytes(data[: len(data) // 2])
    assert bench.probes() == made and len(bench.lines) == 1


def test_those_of_another_index_or_model_are_not_asked(bench: Bench, tmp_path: Path) -> None:
    """A home that was made anew, or embedded anew, has questions of its own."""
    bench.probes()
    other = Bench(tmp_path / "other")
    other.file.parent.mkdir(exist_ok=True)
    other.file.write_bytes(bench.file.read_bytes())
    with Reader.open(other.home) as reader:
        assert other.probes().lineage == reader.manifest.lineage
        kept = other.probes()
        moved = msgspec.structs.replace(kept, space="another model")
        assert not probes._current(moved, reader, "") and probes._current(kept, reader, "")


def test_an_index_that_has_doubled_is_sampled_again(bench: Bench) -> None:
    """Else the passages of its first day would be asked for for ever."""
    made = bench.probes()
    with bench.world.open() as writer:
        writer.commit(delta(1, {"s/x": "one"}))
    assert bench.probes() == made
    with bench.world.open() as writer:
        writer.commit(delta(2, {f"t/{n}": f"word{n} more{n}" for n in range(31)}))
    assert bench.probes() != made


def test_an_empty_index_has_no_questions(tmp_path: Path) -> None:
    """Neither of its own nor of a file: there is nothing to compare vectors with."""
    world = World(tmp_path / "home")
    world.create().close()
    with Reader.open(world.root) as reader:
        found = probes.of(world.root, reader, None, pytest.fail, pytest.fail)
    assert (found.texts, found.vectors.shape) == ([], (0, 1))
