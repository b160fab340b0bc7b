"""An encoder in a process of its own: the engine's results, whatever happens to the process."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from penstock.embed.models import UnknownModel
from penstock.embed.types import EncoderUnavailable
from penstock.embed.worker.process import WorkerEncoder
from penstock.embed.worker.types import Patience
from tests import processes
from tests.embed.worker.conftest import ROOT, SHORT, MakeWorker
from tests.embed.worker.engines import DIM, spec, vector
from tests.embed.worker.results import collected, expected, sequences

IDS = sequences(60)
QUICK = Patience(load=20.0, first=0.7, batch=0.7, factor=0.0, farewell=0.2)


def loads(folder: Path) -> int:
    return (folder / "loads").stat().st_size


def alive(pid: int) -> bool:
    """Whether there is such a process, if only as a zombie."""
    return Path(f"/proc/{pid}").exists()


def test_vectors_are_the_engine_s_own(make: MakeWorker) -> None:
    """Every position once, every bit as the engine made it, refused ones with their reason."""
    worker = make(spec(refuse=[7, 8])).ready()
    vectors, refused = collected(worker.encode(IDS), len(IDS))
    kept = [k for k in range(len(IDS)) if k not in (7, 8)]
    assert np.array_equal(vectors[kept], expected(IDS)[kept])
    assert {k: one.reason for k, one in refused.items()} == {7: "not_finite", 8: "not_finite"}
    assert (worker.dim, worker.max_tokens, worker.identity) == (DIM, 512, {"weights": "fake"})
    assert worker.provenance["device"] == "fake"


def test_tokens_are_counted_as_the_engine_counts_them(make: MakeWorker) -> None:
    """Tokens in are tokens embedded; padding is what the engine says."""
    batches = list(make(spec()).encode(IDS))
    assert sum(batch.tokens for batch in batches) == sum(map(len, IDS))
    assert sum(batch.padded - batch.tokens for batch in batches) == 3 * len(batches)


def test_ids_may_be_arrays(make: MakeWorker) -> None:
    """A shard's ids are views of one mapped array."""
    vectors, _ = collected(make(spec()).encode([np.array(ids, dtype=np.uint32) for ids in IDS]), len(IDS))
    assert np.array_equal(vectors, expected(IDS))


def test_vectors_that_were_given_stay_as_they_are(make: MakeWorker) -> None:
    """They are copies: later work does not write over them."""
    worker = make(spec(rows=60))
    (batch,) = worker.encode(IDS)
    kept = batch.vectors.copy()
    list(worker.encode([(9, 9, k) for k in range(60)]))
    assert np.array_equal(batch.vectors, kept)


def test_nothing_to_embed_is_nothing(make: MakeWorker) -> None:
    """An empty input gives no batch."""
    assert list(make(spec()).encode([])) == []


def test_many_tiny_sequences(make: MakeWorker) -> None:
    """A hundred thousand sequences of one token."""
    ids = [(k % 50,) for k in range(100_000)]
    vectors, _ = collected(make(spec(rows=2000)).encode(ids), len(ids))
    assert np.array_equal(vectors[:1000], expected(ids[:1000]))
    assert np.array_equal(vectors, np.tile(vectors[:50], (2000, 1)))


def test_an_input_of_any_size_is_worked_off_in_pieces(make: MakeWorker, tmp_path: Path) -> None:
    """What is shared at one time is bounded; positions are those of the whole input, through deaths, too."""
    worker = make(spec(tmp_path, refuse=[59], deaths=[9]), shared_bytes=1000)
    vectors, refused = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors[:59], expected(IDS)[:59]) and set(refused) == {59}


def test_many_refusals_in_one_batch_all_arrive(make: MakeWorker) -> None:
    """However many there are: a message has a largest size."""
    ids = [(k, 1) for k in range(500)]
    _, refused = collected(make(spec(rows=500, refuse=list(range(400)))).encode(ids), 500)
    assert set(refused) == set(range(400))


@pytest.mark.parametrize("how", ["exit", "kill", "segv", "lost"])
def test_a_process_that_ends_in_the_middle_costs_nothing(
    make: MakeWorker, tmp_path: Path, notes: list[str], how: str
) -> None:
    """What came stays, the rest comes from another process, and the result is the same to the bit."""
    worker = make(spec(tmp_path, deaths=[5, 9], of=how))
    vectors, refused = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS)) and not refused
    assert loads(tmp_path) == worker.loads == 3
    assert len(notes) == 2 and "texts left to do" in notes[0]


def test_a_process_killed_from_outside_costs_nothing(make: MakeWorker, tmp_path: Path, notes: list[str]) -> None:
    """SIGKILL, as the system sends it when memory runs out, is said as such."""
    worker = make(spec(tmp_path, seconds=0.01)).ready()
    batches = worker.encode(IDS)
    came = [next(batches)]
    os.kill(int(worker.provenance["pid"]), signal.SIGKILL)
    vectors, _ = collected([*came, *batches], len(IDS))
    assert np.array_equal(vectors, expected(IDS))
    assert "SIGKILL, as the system does when memory runs out" in notes[0]


def test_a_process_killed_while_idle_costs_nothing(make: MakeWorker, tmp_path: Path) -> None:
    """Between two shards."""
    worker = make(spec(tmp_path)).ready()
    os.kill(int(worker.provenance["pid"]), signal.SIGKILL)
    vectors, _ = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS)) and loads(tmp_path) == 2


def test_a_process_that_hangs_is_killed(make: MakeWorker, tmp_path: Path, notes: list[str]) -> None:
    """After the deadline; it costs nothing else."""
    worker = make(spec(tmp_path, deaths=[4], of="hang"), patience=QUICK)
    vectors, _ = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS))
    assert "was silent for 0.7 s" in notes[0]


@pytest.mark.parametrize("silent", [False, True], ids=["announces", "does not announce"])
@pytest.mark.parametrize("how", ["exit", "hang", "index"])
def test_a_text_that_kills_is_refused_and_all_others_land(
    make: MakeWorker, tmp_path: Path, notes: list[str], how: str, silent: bool
) -> None:
    """It alone is given up, with the reason, after a handful of processes."""
    worker = make(spec(tmp_path, poison={23: how}, silent=silent), patience=QUICK if how == "hang" else SHORT)
    vectors, refused = collected(worker.encode(IDS), len(IDS))
    others = [k for k in range(len(IDS)) if k != 23]
    assert np.array_equal(vectors[others], expected(IDS)[others])
    assert [(one.position, one.reason) for one in refused.values()] == [(23, "crash")]
    said = {"exit": "exit status 3", "hang": "silent for 0.7 s", "index": "IndexError: index out of range"}[how]
    assert said in refused[23].detail
    assert loads(tmp_path) <= 9
    assert any("a text is given up" in note for note in notes)


def test_a_text_that_kills_is_refused_when_it_is_the_only_one(make: MakeWorker, tmp_path: Path) -> None:
    """It kills twice, alone."""
    _, refused = collected(make(spec(tmp_path, poison={5: "exit"})).encode([(5, 6)]), 1)
    assert refused[0].reason == "crash" and loads(tmp_path) <= 3


def test_a_device_on_which_everything_dies_is_unavailable(make: MakeWorker, tmp_path: Path) -> None:
    """No text is blamed for it, and the message says what happened and what to do."""
    worker = make(spec(tmp_path, poison=dict.fromkeys(range(60), "lost")))
    with pytest.raises(EncoderUnavailable, match=r"illegal memory access.*run again"):
        assert not list(worker.encode(IDS))
    assert loads(tmp_path) < 8


def test_a_mistake_of_the_caller_is_no_crash(make: MakeWorker, tmp_path: Path) -> None:
    """A sequence that the model does not take raises what the engine raises; the process goes on."""
    worker = make(spec(tmp_path))
    for wrong in ((), (1,) * 513):
        with pytest.raises(ValueError, match="more than 512"):
            list(worker.encode([(1, 2), wrong]))
    assert len(list(worker.encode([(1, 2)]))) == 1
    assert loads(tmp_path) == 1


def test_an_engine_that_is_unavailable_says_so(make: MakeWorker, tmp_path: Path) -> None:
    """With the time after which it is worth trying again; no process is blamed."""
    worker = make(spec(tmp_path, poison={3: "unavailable"}))
    with pytest.raises(EncoderUnavailable, match="somebody else has taken the memory") as caught:
        list(worker.encode(IDS))
    assert caught.value.after == 30.0 and loads(tmp_path) == 1


def test_closing_early_stops_the_process_at_its_next_batch(make: MakeWorker, tmp_path: Path) -> None:
    """And it takes other work then."""
    worker = make(spec(tmp_path, seconds=0.05, rows=1))
    batches = worker.encode(IDS)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    begun = (tmp_path / "batches").stat().st_size
    vectors, _ = collected(worker.encode(IDS[:2]), 2)
    assert np.array_equal(vectors, expected(IDS[:2]))
    assert (tmp_path / "batches").stat().st_size <= begun + 1 + 2
    assert loads(tmp_path) == 1


def test_one_thing_at_a_time(make: MakeWorker) -> None:
    """Who goes on with old work after new work began is told so, and the new work is whole."""
    worker = make(spec())
    old = worker.encode(IDS)
    next(old)
    new = worker.encode(IDS)
    came = [next(new)]
    with pytest.raises(RuntimeError, match="one thing at a time"):
        next(old)
    vectors, _ = collected([*came, *new], len(IDS))
    assert np.array_equal(vectors, expected(IDS))


def test_closing_while_the_process_hangs_does_not_wait_for_it(make: MakeWorker, tmp_path: Path) -> None:
    """The next work finds out, and starts another."""
    worker = make(spec(tmp_path, deaths=[2], of="hang"), patience=QUICK)
    batches = worker.encode(IDS)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    vectors, _ = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS)) and loads(tmp_path) == 2


def test_a_consumer_that_takes_nothing_can_end_it_kindly(make: MakeWorker, tmp_path: Path) -> None:
    """Also when more has come than anybody could say without being heard."""
    worker = make(spec(tmp_path, rows=1)).ready()
    batches = worker.encode([(k,) for k in range(5000)])
    next(batches)
    size = 0
    while (now := (tmp_path / "batches").stat().st_size) > size or now < 100:
        size = now
        select.select([], [], [], 0.05)  # until it computes no more: it waits for us
    worker.close()
    assert (tmp_path / "closed").exists() and size < 5000


def test_a_slow_consumer_does_not_hold_the_process_up(make: MakeWorker, tmp_path: Path) -> None:
    """All batches are computed while nobody takes them, and none is lost."""
    worker = make(spec(tmp_path, rows=1), patience=QUICK)
    batches = worker.encode(IDS)
    came = [next(batches)]
    while (tmp_path / "batches").stat().st_size < len(IDS):
        os.sched_yield()
    vectors, _ = collected([*came, *batches], len(IDS))
    assert np.array_equal(vectors, expected(IDS)) and loads(tmp_path) == 1


def test_questions_are_the_engine_s_own(make: MakeWorker) -> None:
    """Also many and long ones, and none."""
    worker = make(spec()).ready()
    texts = ["what?", "ß" * 300_000, *map(str, range(1000))]
    assert np.array_equal(worker.encode_queries(texts), np.stack([vector([*text.encode()]) for text in texts]))


def test_a_question_that_kills_is_asked_again_and_then_given_back(make: MakeWorker, tmp_path: Path) -> None:
    """One death is an accident; three are an error that says what to do."""
    worker = make(spec(tmp_path, once=True))
    assert len(worker.encode_queries(["exit"])) == 1
    with pytest.raises(EncoderUnavailable, match=r"exit status 3.*3 times over the same questions"):
        make(spec()).encode_queries(["exit"])


@pytest.mark.parametrize(
    ("load", "error", "message"),
    [
        ("unknown", UnknownModel, "no model of that name"),
        ("value", ValueError, "dtype float3 is impossible"),
        ("import", ModuleNotFoundError, "No module named 'torch'"),
        ("foreign", RuntimeError, "no room"),
    ],
)
def test_an_error_of_loading_is_raised_here(
    make: MakeWorker, tmp_path: Path, load: str, error: type[Exception], message: str
) -> None:
    """Of the same class, with the same words, and nothing is tried again; a library's own error as what it is of."""
    with pytest.raises(error) as caught:
        make(spec(tmp_path, load=load)).ready()
    assert type(caught.value) is error and str(caught.value) == message
    assert loads(tmp_path) == 1


def test_an_engine_that_is_not_there_is_an_import_error(make: MakeWorker) -> None:
    """A module that cannot be imported in the process is said here."""
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        make(spec(), engine="nowhere:load").ready()


def test_a_process_that_dies_of_loading_is_tried_thrice(make: MakeWorker, tmp_path: Path) -> None:
    """Then it is unavailable, with its last words."""
    with pytest.raises(EncoderUnavailable, match=r"exit status 7 \(.*libcuda: cannot be initialised\).*3 times"):
        make(spec(tmp_path, load="exit")).ready()
    assert loads(tmp_path) == 3


def test_a_process_that_dies_of_loading_twice_is_loaded_at_last(make: MakeWorker, tmp_path: Path) -> None:
    """As on a machine that is short of memory for a while."""
    assert make(spec(tmp_path, load="exit at first")).ready().dim == DIM


def test_a_process_that_cannot_be_loaded_again_makes_the_encoder_unavailable(make: MakeWorker, tmp_path: Path) -> None:
    """What came before stays with who took it."""
    worker = make(spec(tmp_path, load="exit later", deaths=[3]))
    came = []
    with pytest.raises(EncoderUnavailable, match="while it loaded the model, 3 times in a row"):
        came.extend(worker.encode(IDS))
    assert len(came) == 2


def test_loading_that_takes_too_long_is_given_up(make: MakeWorker, tmp_path: Path) -> None:
    """It has a deadline of its own."""
    with pytest.raises(EncoderUnavailable, match=r"was silent for 0\.2 s while it loaded"):
        make(spec(tmp_path, load="slow"), patience=Patience(load=0.2, farewell=0.1)).ready()


def test_another_model_is_not_gone_on_with(make: MakeWorker, tmp_path: Path) -> None:
    """A model whose files changed between two processes would give vectors that must not stand side by side."""
    with pytest.raises(EncoderUnavailable, match="files changed"):
        list(make(spec(tmp_path, load="changes", deaths=[3])).encode(IDS))


def test_what_was_chosen_once_is_chosen_again(make: MakeWorker, tmp_path: Path) -> None:
    """A benchmark that decided the number format is not asked a second time: other bits would come of it."""
    worker = make(spec(tmp_path, load="auto", deaths=[3])).ready()
    assert worker.provenance["dtype"] == "bfloat16"
    assert len(list(worker.encode(IDS))) == 15
    assert loads(tmp_path) == 2


def test_nothing_of_it_reaches_the_terminal(
    make: MakeWorker, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Records, warnings and prints come through the log, whole."""
    with caplog.at_level(logging.INFO):
        make(spec(load="chatty")).ready()
    said = {record.name: record.getMessage() for record in caplog.records}
    records = [record for record in caplog.records if record.name == "penstock.embed.engine"]
    assert "".join(record.getMessage() for record in records) == "a question was cut: " + "x" * 40_000
    assert {record.levelname for record in records} == {"WARNING"}
    assert "a warning of a library" in said["py.warnings"]
    assert "printed while loading" in said["penstock.embed.worker"]
    assert capfd.readouterr() == ("", "")


def test_ending_is_kind_and_leaves_nothing(make: MakeWorker, tmp_path: Path) -> None:
    """The engine is closed, the process is gone, not even a zombie or a descriptor is left; twice is as good."""
    gc.collect()
    before, others = len(os.listdir("/proc/self/fd")), processes.children()
    worker = make(spec(tmp_path, deaths=[2, 5])).ready()
    collected(worker.encode(IDS), len(IDS))
    worker.encode_queries(["a"])
    worker.close()
    worker.close()
    assert (tmp_path / "closed").exists()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert processes.children() <= others
    with pytest.raises(EncoderUnavailable, match="closed"):
        list(worker.encode(IDS))


def test_ending_in_the_middle_of_work_ends_the_work(make: MakeWorker) -> None:
    """Whoever goes on with it is told; whoever lets go of it is not."""
    worker = make(spec()).ready()
    goes_on, lets_go = worker.encode(IDS), worker.encode(IDS)
    next(goes_on)
    worker.close()
    with pytest.raises(EncoderUnavailable, match="closed"):
        list(goes_on)
    lets_go.close()  # type: ignore[attr-defined]


def test_ending_a_process_that_hangs_is_hard(make: MakeWorker, tmp_path: Path) -> None:
    """It is given a moment, and then killed."""
    worker = make(spec(tmp_path, deaths=[2], of="hang"), patience=QUICK).ready()
    batches = worker.encode(IDS)
    next(batches)
    worker.close()
    assert not alive(int(worker.provenance["pid"]))
    with pytest.raises(EncoderUnavailable, match="closed"):
        list(batches)


def test_a_loading_process_can_be_ended(make: MakeWorker) -> None:
    """From another thread than the one that waits for it."""
    worker = make(spec(load="slow"))
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            worker.ready()
        except EncoderUnavailable as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    worker.close()
    thread.join(60)
    assert "closed" in str(ended[0])


def test_it_outlives_the_thread_that_made_it(make: MakeWorker, tmp_path: Path) -> None:
    """Loading goes on beside other work, on a thread that ends."""
    made: list[WorkerEncoder] = []
    thread = threading.Thread(target=lambda: made.append(make(spec(tmp_path)).ready()))
    thread.start()
    thread.join()
    vectors, _ = collected(made[0].encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS)) and loads(tmp_path) == 1


def test_an_interruption_is_not_its_business(make: MakeWorker, tmp_path: Path) -> None:
    """Who embeds decides what a Ctrl-C means."""
    worker = make(spec(tmp_path, seconds=0.005)).ready()
    pid = int(worker.provenance["pid"])
    batches = worker.encode(IDS)
    came = [next(batches)]
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGINT)
    collected([*came, *batches], len(IDS))
    assert loads(tmp_path) == 1


@pytest.mark.parametrize("doing", ["sleep", "hold", "nothing"])
def test_it_dies_with_its_parent(tmp_path: Path, doing: str) -> None:
    """Killed hard, the parent can tell nobody: the process ends by itself, even in the middle of a batch."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.embed.worker.parent", str(tmp_path), doing],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    ended = os.pidfd_open(pid)
    assert not select.select([ended], [], [], 0)[0]
    parent.kill()
    parent.wait()
    assert select.select([ended], [], [], 5)[0], "the process outlived its parent"
    os.close(ended)
    parent.stdout.close()


def test_nothing_heavy_is_imported_here() -> None:
    """The encoder's own side knows neither torch nor transformers."""
    script = (
        "import sys, penstock.embed.worker.process; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_one_that_rests_lets_go_of_everything_and_comes_back(make: MakeWorker, tmp_path: Path) -> None:
    """Its process is gone on return; the next is loaded when there is work, not before, and makes the same bits."""
    worker = make(spec(tmp_path)).ready()
    before = processes.children()
    assert worker.rest() and not worker.rest()
    assert not before & processes.children(), "no process, no zombie"
    assert (loads(tmp_path), worker.loads) == (1, 1)
    vectors, _ = collected(worker.encode(IDS), len(IDS))
    assert np.array_equal(vectors, expected(IDS))
    assert (loads(tmp_path), worker.loads) == (2, 2)


def test_one_that_rests_in_the_middle_of_its_work_loses_no_vector(make: MakeWorker) -> None:
    """What is left is asked for again, and all of it has the same bits."""
    worker = make(spec(seconds=0.01)).ready()
    came = []
    for batch in (batches := worker.encode(IDS)):
        came.append(batch)
        if len(came) == 3:
            break
    batches.close()  # type: ignore[attr-defined]
    worker.rest()
    done = {position for batch in came for position in batch.positions.tolist()}
    left = [position for position in range(len(IDS)) if position not in done]
    vectors, _ = collected(worker.encode([IDS[position] for position in left]), len(left))
    assert np.array_equal(vectors, expected([IDS[position] for position in left]))
    assert all(np.array_equal(batch.vectors, expected([IDS[k] for k in batch.positions])) for batch in came)


def test_one_that_is_closed_does_not_rest(make: MakeWorker) -> None:
    """It would start again."""
    worker = make(spec()).ready()
    worker.close()
    with pytest.raises(EncoderUnavailable, match="closed"):
        worker.rest()
