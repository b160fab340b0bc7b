"""A silence is spoken of before it is ended."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embed.types import EncoderUnavailable
from penstock.embed.worker.types import Patience
from penstock.embed.worker.vigil import Vigil, span
from tests.embed.worker.conftest import SHORT, MakeWorker
from tests.embed.worker.engines import spec
from tests.embed.worker.results import sequences


def test_a_long_silence_is_told_at_growing_intervals() -> None:
    """At a minute, and each time that it has lasted twice as long: few lines, however long it lasts."""
    said: list[float] = []
    vigil = Vigil(60.0, said.append)
    for second in range(600):
        vigil(float(second))
    assert said == [60.0, 120.0, 240.0, 480.0]


@given(first=st.floats(0.1, 100), looks=st.lists(st.floats(0, 1e5), max_size=50))
def test_nothing_is_told_too_early_or_twice(first: float, looks: list[float]) -> None:
    """Whenever one looks: each line is of a silence twice as long as the last boundary, or longer."""
    said: list[float] = []
    vigil = Vigil(first, said.append)
    for waited in sorted(looks):
        vigil(waited)
    assert all(waited >= first * 2**k for k, waited in enumerate(said))


def test_seconds_are_said_as_people_say_them() -> None:
    """Minutes from a minute on."""
    assert [span(s) for s in (0.25, 45, 60, 200)] == ["0.25 s", "45 s", "1 min", "3 min 20 s"]


def test_a_model_that_loads_for_long_is_told_of(make: MakeWorker, notes: list[str], tmp_path: Path) -> None:
    """With the process, so that one can look at it, and with what it is still given."""
    worker = make(spec(tmp_path, load="slow"), patience=Patience(load=20.0, farewell=0.1, word_load=0.3))

    def enough() -> None:
        while not notes:
            threading.Event().wait(0.02)
        worker.close()

    watching = threading.Thread(target=enough, daemon=True)
    watching.start()
    with pytest.raises(EncoderUnavailable, match="closed"):
        worker.ready()
    watching.join()
    assert notes[0].startswith("the model has been loading for ") and "(process " in notes[0]
    assert notes[0].endswith(" s more")


def test_a_batch_that_takes_long_is_told_of(make: MakeWorker, notes: list[str]) -> None:
    """Before it counts as hung, and also if it never does."""
    worker = make(spec(rows=60, seconds=1.2), patience=Patience(load=20.0, first=20.0, word_batch=0.5)).ready()
    list(worker.encode(sequences(10)))
    (said,) = [note for note in notes if note.startswith("no word from the embedding process for 1")]
    assert "it is given 19 s more" in said and "(process " in said


def test_quick_work_is_not_talked_about(make: MakeWorker, notes: list[str]) -> None:
    """Who is well has nothing to say."""
    list(make(spec(), patience=SHORT).encode(sequences(10)))
    assert notes == []


def test_one_setting_says_what_a_hang_is() -> None:
    """It takes the place of the floor for a batch; a first batch is given no less."""
    assert Patience.hanging(None) == Patience()
    assert Patience.hanging(30.0) == Patience(batch=30.0)
    assert Patience.hanging(900.0) == Patience(batch=900.0, first=900.0)
