"""The pool of parser processes: one hostile file costs itself, and nothing else."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.parsing.pool import REJECTIONS, ParserPool, ParserUnavailable, parser_names
from penstock.connectors.types import Document, Failed, Fetched, Rejected
from tests import processes
from tests.connectors import samples

HERE = Path(__file__).parent
OBEYING = (sys.executable, "-P", str(HERE / "misbehaving_worker.py"))


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1, seconds=20) as pool:
        yield pool


@pytest.fixture
def obeying() -> Iterator[ParserPool]:
    with ParserPool(1, seconds=20, memory_bytes=600 << 20, command=OBEYING) as pool:
        yield pool


def fetched(folder: Path, content: bytes | str, name: str = "file.txt") -> Fetched:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    return Fetched(path, path.name)


def process_of(document: object) -> int:
    assert isinstance(document, Document), document
    return int(document.text.split()[1])


def gone(process: int, within: float = 20.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if processes.gone(process):
            return True
        time.sleep(0.01)
    return False


def test_a_document_carries_the_identity_of_the_bytes_that_were_parsed(pool: ParserPool, tmp_path: Path) -> None:
    """Content digest, version token, kind and parser come from the parsed file itself."""
    document = pool.parse(fetched(tmp_path, "some words\r\nmore"))
    assert isinstance(document, Document)
    assert document.text == "some words\nmore"
    assert document.content == hashlib.sha256(b"some words\r\nmore").hexdigest()
    assert document.version == "1600000000123456789-16"
    assert (document.kind, document.parser) == ("text", parser_names()["text"])


def test_every_kind_is_parsed_and_named(pool: ParserPool, tmp_path: Path) -> None:
    """Kind is found by content, whatever the name says."""
    made = {
        "pdf": samples.pdf("one"),
        "docx": samples.word(("Normal", "one")),
        "html": b"<!doctype html><p>one",
        "markdown": b"# one\n\n[link](http://x)\n\n```\ncode\n```\n",
        "text": b"one",
    }
    for kind, content in made.items():
        document = pool.parse(fetched(tmp_path, content, "unnamed"))
        assert isinstance(document, Document) and document.kind == kind, document
        assert document.parser == parser_names()[kind]


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("empty", b" \n\t "),
        ("empty", b""),
        ("empty", b"<html><body><p> </p></body></html>"),
        ("encrypted", samples.encrypted_pdf("password")),
        ("no_text", samples.pdf("", "")),
        ("damaged", samples.pdf("one")[:60]),
        ("damaged", samples.word(("Normal", "one"))[:-200]),
        ("unsupported", bytes(range(256)) * 8),
    ],
)
def test_what_cannot_become_a_document_is_rejected_for_a_reason(
    pool: ParserPool, tmp_path: Path, reason: str, content: bytes
) -> None:
    """A rejection names its reason, and the content and parser that it holds for."""
    outcome = pool.parse(fetched(tmp_path, content))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason == reason and outcome.reason in REJECTIONS
    assert outcome.content == hashlib.sha256(content).hexdigest()
    assert outcome.parser in parser_names().values() and outcome.version and outcome.detail


def test_a_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    """The limit on bytes holds before reading, the one on text after parsing."""
    with ParserPool(1, max_bytes=100, max_text=50) as pool:
        large = pool.parse(fetched(tmp_path, "x" * 101))
        wordy = pool.parse(fetched(tmp_path, "x" * 51))
        assert isinstance(pool.parse(fetched(tmp_path, "x" * 50)), Document)
    assert isinstance(large, Rejected) and (large.reason, large.content) == ("too_large", "")
    assert large.version == "1600000000123456789-101"
    assert isinstance(wordy, Rejected) and wordy.reason == "too_large"


def test_a_file_that_went_away_raises_file_not_found(pool: ParserPool, tmp_path: Path) -> None:
    """The caller learns it the way it does from a source."""
    with pytest.raises(FileNotFoundError, match="absent"):
        pool.parse(Fetched(tmp_path / "absent", "absent"))


def test_a_path_that_became_a_link_is_not_followed(pool: ParserPool, tmp_path: Path) -> None:
    """A link put in the place of a checked file leads nowhere."""
    (tmp_path / "link").symlink_to("/etc/hostname")
    outcome = pool.parse(Fetched(tmp_path / "link", "link"))
    assert isinstance(outcome, Failed) and outcome.reason == "unreadable"


def test_a_pipe_in_the_place_of_a_file_does_not_hang(pool: ParserPool, tmp_path: Path) -> None:
    """Opening it never waits for a writer."""
    os.mkfifo(tmp_path / "pipe")
    outcome = pool.parse(Fetched(tmp_path / "pipe", "pipe"))
    assert isinstance(outcome, Failed) and outcome.reason == "changing"


def test_a_file_name_that_is_no_text_is_parsed(pool: ParserPool, tmp_path: Path) -> None:
    """Names are bytes."""
    document = pool.parse(fetched(tmp_path, "words", os.fsdecode(b"\xff\xfe.txt")))
    assert isinstance(document, Document) and document.text == "words"


def test_a_version_read_in_the_tick_it_was_written_equals_no_other(pool: ParserPool, tmp_path: Path) -> None:
    """A rewrite of the same size in the same tick would leave the same token: so it is marked."""
    path = tmp_path / "new"
    now = time.time_ns() + 10_000_000
    path.write_text("words")
    os.utime(path, ns=(now, now))
    document = pool.parse(Fetched(path, "new"))
    assert isinstance(document, Document) and document.version == f"{now}-5-fresh"


def test_what_the_source_says_of_a_document_joins_what_the_file_says(pool: ParserPool, tmp_path: Path) -> None:
    """The source's version token, title and metadata win; labels are kept."""
    file = fetched(tmp_path, samples.pdf("one"))
    said = Fetched(
        file.path,
        file.name,
        version="rev-7",
        temporary=True,
        title="The source's title",
        url="https://wiki.example/one",
        metadata={"author": "somebody", "space": "ENG"},
        labels=("staff",),
    )
    document = pool.parse(said)
    assert isinstance(document, Document)
    assert (document.version, document.title, document.labels) == ("rev-7", "The source's title", ("staff",))
    assert document.metadata == {
        "author": "somebody",
        "space": "ENG",
        "url": "https://wiki.example/one",
        "pages": "1",
        "extracted_by": "pypdf",
    }
    titled = pool.parse(Fetched(fetched(tmp_path, samples.pdf("one", title="Its own")).path, "a"))
    assert isinstance(titled, Document) and titled.title == "Its own" and file.path.exists()


def test_a_version_of_the_source_holds_for_a_rejection_and_is_never_marked_fresh(
    pool: ParserPool, tmp_path: Path
) -> None:
    """The mark is for tokens taken from a file's own times."""
    path = tmp_path / "new"
    path.write_bytes(b" ")
    rejected = pool.parse(Fetched(path, "new", version="rev-8"))
    assert isinstance(rejected, Rejected) and rejected.version == "rev-8"


def test_a_parser_over_its_processor_time_is_stopped_by_itself(tmp_path: Path) -> None:
    """The limit holds without the parent's clock."""
    with ParserPool(1, seconds=30, cpu_seconds=1, command=OBEYING) as pool:
        outcome = pool.parse(fetched(tmp_path, "spin"))
    assert isinstance(outcome, Rejected) and outcome.reason == "too_slow" and "processor time" in outcome.detail


def test_a_parser_over_its_time_is_stopped_and_the_next_file_goes_on(tmp_path: Path) -> None:
    """`too_slow` comes at the limit, with the identity of the file."""
    with ParserPool(1, seconds=0.5, command=OBEYING) as pool:
        began = time.monotonic()
        outcome = pool.parse(fetched(tmp_path, "sleep"))
        assert time.monotonic() - began < 30
        assert isinstance(outcome, Rejected) and outcome.reason == "too_slow"
        assert outcome.content == hashlib.sha256(b"sleep").hexdigest() and outcome.version
        assert process_of(pool.parse(fetched(tmp_path, "hello")))


def test_a_parser_over_its_memory_is_stopped_and_the_next_file_goes_on(obeying: ParserPool, tmp_path: Path) -> None:
    """`too_much_memory` comes from the limit inside the process; a used-up process is not used again."""
    outcome = obeying.parse(fetched(tmp_path, "eat"))
    assert isinstance(outcome, Rejected) and outcome.reason == "too_much_memory"
    document = obeying.parse(fetched(tmp_path, "hello"))
    assert isinstance(document, Document) and document.metadata["served"] == "1"


@pytest.mark.parametrize("death", ["segfault", "exit", "babble"])
def test_a_file_that_kills_its_process_is_rejected_and_the_next_goes_on(
    obeying: ParserPool, tmp_path: Path, death: str
) -> None:
    """`crashed`, for a signal of its own making, an exit, or nonsense in place of an answer."""
    obeying.parse(fetched(tmp_path, "hello"))
    outcome = obeying.parse(fetched(tmp_path, death))
    assert isinstance(outcome, Rejected) and outcome.reason == "crashed" and outcome.content
    assert process_of(obeying.parse(fetched(tmp_path, "hello")))


def test_a_process_killed_from_outside_fails_the_file_and_rejects_nothing(obeying: ParserPool, tmp_path: Path) -> None:
    """SIGKILL says nothing about the file: a later run tries again."""
    outcome = obeying.parse(fetched(tmp_path, "killed"))
    assert isinstance(outcome, Failed) and outcome.reason == "interrupted"


def test_an_idle_process_that_was_killed_is_replaced_unseen(obeying: ParserPool, tmp_path: Path) -> None:
    """The next file does not pay for it."""
    first = process_of(obeying.parse(fetched(tmp_path, "hello")))
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert process_of(obeying.parse(fetched(tmp_path, "hello"))) != first


def test_a_file_is_judged_on_a_fresh_process_before_it_is_blamed(obeying: ParserPool, tmp_path: Path) -> None:
    """A process that an earlier file sickened costs the next file nothing."""
    obeying.parse(fetched(tmp_path, "hello"))
    document = obeying.parse(fetched(tmp_path, "sicken"))
    assert isinstance(document, Document) and document.metadata["served"] == "1"


def test_a_process_is_replaced_after_so_many_files(tmp_path: Path) -> None:
    """What a library leaks does not add up."""
    with ParserPool(1, recycle_after=2, command=OBEYING) as pool:
        served = [process_of(pool.parse(fetched(tmp_path, "hello"))) for _ in range(5)]
    assert served[0] == served[1] != served[2] == served[3] != served[4]
    assert gone(served[0])


def test_a_library_that_prints_disturbs_nothing(obeying: ParserPool, tmp_path: Path) -> None:
    """The answers travel where no library writes."""
    assert process_of(obeying.parse(fetched(tmp_path, "print"))) == process_of(
        obeying.parse(fetched(tmp_path, "hello"))
    )


def test_a_missing_library_is_not_the_files_fault(obeying: ParserPool, tmp_path: Path) -> None:
    """It fails with what to install, and is not quarantined."""
    outcome = obeying.parse(fetched(tmp_path, "missing"))
    assert isinstance(outcome, Failed) and "pip install" in outcome.detail


def test_a_pool_that_cannot_start_a_process_says_so(tmp_path: Path) -> None:
    """A broken installation must not reject every document there is."""
    with ParserPool(1, command=(sys.executable, "-c", "raise SystemExit(1)")) as pool:
        for _ in range(2):
            with pytest.raises(ParserUnavailable, match="no parser process"):
                pool.parse(fetched(tmp_path, "hello"))


def test_threads_share_the_processes_and_none_dies_with_a_thread(tmp_path: Path) -> None:
    """Each call takes a free process; the thread that needed it first may end."""
    files = [fetched(tmp_path, "hello", f"{at}.txt") for at in range(6)]
    found: list[int] = []
    with ParserPool(2, command=OBEYING) as pool:
        for _ in range(2):
            threads = [
                threading.Thread(target=lambda file=file: found.append(process_of(pool.parse(file)))) for file in files
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(found) == 12 and len(set(found)) <= 2


def test_closing_ends_a_call_under_way_as_interrupted(tmp_path: Path) -> None:
    """Nobody waits for a parser that is no longer wanted, and nothing is rejected for it."""
    pool = ParserPool(1, seconds=60, command=OBEYING)
    started = tmp_path / "started"
    outcomes: list[object] = []
    file = fetched(tmp_path, f"touch {started}")
    thread = threading.Thread(target=lambda: outcomes.append(pool.parse(file)))
    thread.start()
    until = time.monotonic() + 60
    while not started.exists() and time.monotonic() < until:
        time.sleep(0.01)
    pool.close()
    thread.join(60)
    assert isinstance(outcomes[0], Failed) and outcomes[0].reason == "interrupted"
    assert isinstance(pool.parse(file), Failed)
    pool.close()


def test_a_killed_parent_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGKILL of the parent ends a parser in the middle of a file."""
    started = tmp_path / "started"
    file = fetched(tmp_path, f"touch {started}")
    program = (
        "import sys; from pathlib import Path; from penstock.connectors.parsing.pool import ParserPool;"
        "from penstock.connectors.types import Fetched;"
        f"pool = ParserPool(1, command=({OBEYING[0]!r}, {OBEYING[2]!r}));"
        "pool.parse(Fetched(Path(sys.argv[1]), 'file'))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(file.path)])
    until = time.monotonic() + 60
    while not started.exists() and time.monotonic() < until:
        time.sleep(0.01)
    (process,) = processes.children(parent.pid)
    parent.kill()
    parent.wait()
    assert gone(process)


def test_ctrl_c_does_not_reach_the_parsers(obeying: ParserPool, tmp_path: Path) -> None:
    """They have a session of their own and ignore the signal: the commit in hand still needs them."""
    document = obeying.parse(fetched(tmp_path, "hello"))
    process = process_of(document)
    assert os.getsid(process) == process != os.getsid(0)
    os.kill(process, signal.SIGINT)
    assert process_of(obeying.parse(fetched(tmp_path, "hello"))) == process


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of documents may hold a `docx.py`."""
    (tmp_path / "docx.py").write_text("raise SystemExit(7)")
    (tmp_path / "msgspec.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with ParserPool(1) as pool:
        assert isinstance(pool.parse(fetched(tmp_path, samples.word(("Normal", "x")), "w")), Document)


_STARTS = [b"", b"%PDF-1.7\n1 0 obj\n", b"PK\x03\x04[Content_Types].xml", b"<html>", b"# x\n", b"\xff\xfe", b"<?xml?>"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(_STARTS), rest=st.binary(max_size=400))
def test_random_bytes_always_end_in_one_of_the_three(
    pool: ParserPool, tmp_path: Path, start: bytes, rest: bytes
) -> None:
    """Nothing hangs, nothing crashes; text is UTF-8, spans lie inside it."""
    outcome = pool.parse(fetched(tmp_path, start + rest))
    if isinstance(outcome, Document):
        assert outcome.text.encode() and outcome.text.strip()
        assert all(0 <= span.start < span.end <= len(outcome.text) for span in outcome.headings)
    else:
        assert isinstance(outcome, Rejected) and outcome.reason in REJECTIONS and outcome.reason != "crashed"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sample=st.sampled_from([samples.pdf("one", "two"), samples.word(("Heading 1", "a"), ("Normal", "b"))]),
    places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_a_file_with_flipped_bytes_never_takes_the_process_along(
    pool: ParserPool, tmp_path: Path, sample: bytes, places: list[tuple[int, int]]
) -> None:
    """A damaged file is parsed or rejected."""
    damaged = bytearray(sample)
    for at, value in places:
        damaged[at % len(damaged)] = value
    outcome = pool.parse(fetched(tmp_path, bytes(damaged)))
    assert isinstance(outcome, Document | Rejected)
    assert not isinstance(outcome, Rejected) or outcome.reason != "crashed"


def test_a_folder_that_became_a_link_leads_nowhere(tmp_path: Path) -> None:
    """Between the moment when a source looked at a path and the one when it is opened, somebody may put a link in the
    place of a folder: what lies outside is not read."""
    inside, outside = tmp_path / "root" / "sub", tmp_path / "outside"
    for folder, text in ((inside, "ours"), (outside, "theirs")):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(text)
    asked = Fetched((inside / "a.txt").resolve(), "a.txt", resolved=True)
    with ParserPool(1) as pool:
        found = pool.parse(asked)
        assert isinstance(found, Document) and found.text.strip() == "ours"
        inside.rename(tmp_path / "root" / "away")
        inside.symlink_to(outside)
        assert pool.parse(asked) == Failed("changing", "a.txt changed each time it was read")
