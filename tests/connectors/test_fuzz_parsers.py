"""Files that were changed on the way: every kind of them is read or refused, in time and without growth."""

from __future__ import annotations

import io
import json
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from functools import cache
from itertools import pairwise
from pathlib import Path

import openpyxl
import pptx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.parsers.parsed import Parsed, Unparsable
from penstock.connectors.parsing.chain import parse_kind
from penstock.connectors.parsing.pool import ParserPool
from penstock.connectors.reasons import REJECTIONS
from penstock.connectors.types import Document, Failed, Fetched, Rejected
from tests import processes
from tests.connectors import samples

SECONDS = 20
WORDS = "The penstock brings the reservoir's rough water to the turbine, at the pace that the turbine can take. "
HTML = (
    f"<!doctype html><html><head><title>Gates</title></head><body><nav><a href=/>home</a></nav><main><h1>One</h1>"
    f"<p>{WORDS * 3}</p><table><tr><td>1</td><td>2</td></tr></table><h2>Two</h2><ul><li>a<li>b</ul></main>"
)
MARKDOWN = (
    f"---\ntitle: Gates\n---\n# One\n\n{WORDS}\n\n```\ncode\n```\n## Two\n\n[a](b) `c` **d**\n\n| a | b |\n|---|---|\n"
)


def _slides() -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "Gates", WORDS
    return samples.saved(deck)


def _sheet() -> bytes:
    book = openpyxl.Workbook()
    for row in range(8):
        book.active.append([f"gate {row}", row, row / 3, WORDS])
    return samples.saved(book)


def _mail() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"], message["Message-ID"] = "a@b.example", "Gätes", "<1@b.example>"
    message.set_content(WORDS)
    message.add_alternative(HTML, subtype="html")
    message.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="a.csv")
    return message.as_bytes()


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("a.txt", WORDS.encode()), ("b/c.html", HTML.encode()), ("d.pdf", samples.pdf("one"))):
            archive.writestr(name, data)
    return out.getvalue()


@cache
def sample(kind: str) -> bytes:
    """A sound file of that kind."""
    record = {"id": 1, "title": "Gates", "body": WORDS, "tags": ["a", "b"], "nested": {"x": [1, None, True]}}
    made = {
        "html": HTML.encode,
        "markdown": MARKDOWN.encode,
        "text": (WORDS * 5 + "déjà vu").encode,
        "docx": lambda: samples.word(("Heading 1", "Gates"), ("Normal", WORDS), ("Heading 2", "More")),
        "pptx": _slides,
        "xlsx": _sheet,
        "eml": _mail,
        "csv": ("gate,litres\n" + '"upper, left",4200\n' * 20).encode,
        "json": json.dumps([record] * 5).encode,
        "jsonl": "\n".join([json.dumps(record)] * 5).encode,
        "zip": _archive,
        "pdf": lambda: samples.pdf("first page", "second page", title="A title"),
    }
    return made[kind]()


KINDS = ["html", "markdown", "text", "docx", "pptx", "xlsx", "eml", "csv", "json", "jsonl", "zip"]
OTHERS = [b"\x00" * 64, b"\xff\xfe\xfd" * 20, b"<" * 200, b"[" * 300, b'"' * 50, b"\r" * 50, b"9" * 400, b"\xe2\x80"]
changes = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "drop", "twice", "splice"]),
        st.integers(0, 1 << 16),
        st.integers(0, 255),
        st.sampled_from(OTHERS),
    ),
    min_size=1,
    max_size=6,
)


def changed(data: bytes, what: list[tuple[str, int, int, bytes]]) -> bytes:
    """`data` with bits flipped, its end cut off, parts dropped, doubled, or put in from elsewhere."""
    for act, place, value, other in what:
        at = place % max(1, len(data))
        match act:
            case "flip":
                data = data[:at] + bytes([value]) + data[at + 1 :]
            case "cut":
                data = data[: max(at, 1)]
            case "drop":
                data = data[:at] + data[at + value :]
            case "twice":
                data = data[:at] + data[at : at + value] * 3 + data[at + value :]
            case "splice":
                data = data[:at] + other + data[at:]
    return data


def changed_inside(archive: bytes, what: list[tuple[str, int, int, bytes]], which: int) -> bytes:
    """An archive with one of its members changed: damage that no checksum tells."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        names = opened.namelist()
        name = names[which % len(names)]
        return samples.repacked(archive, name, changed(opened.read(name), what))


@contextmanager
def in_time() -> Iterator[None]:
    """Fails what takes longer than `SECONDS`."""

    def ring(*_: object) -> None:
        raise BaseExceptionGroup(f"not done within {SECONDS} s", [TimeoutError()])

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def is_sound(parsed: Parsed | Document) -> None:
    """Text is UTF-8; spans are sorted, not empty and inside; values are text."""
    assert parsed.text.encode() is not None
    for spans in (parsed.pages, parsed.headings):
        assert all(0 <= span.start < span.end <= len(parsed.text) for span in spans)
        assert all(before.end <= after.start for before, after in pairwise(spans))
    assert all(isinstance(value, str) and value.encode() is not None for value in parsed.metadata.values())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(what=changes, inside=st.integers(-8, 40))
def test_a_changed_file_of_any_kind_is_read_or_refused(
    kind: str, what: list[tuple[str, int, int, bytes]], inside: int
) -> None:
    """`Parsed`, `Unparsable` with a known reason, or a plain exception; never a hang, an exit or a broken span."""
    data = sample(kind)
    packed = kind in ("docx", "pptx", "xlsx", "zip") and inside >= 0
    data = changed_inside(data, what, inside) if packed else changed(data, what)
    with in_time():
        try:
            is_sound(parse_kind(kind, data, f"a.{kind}"))
        except Unparsable as error:
            assert error.reason in REJECTIONS
        except Exception as error:
            assert not isinstance(error, AssertionError | MemoryError), error


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1, seconds=SECONDS) as pool:
        yield pool


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(what=changes)
def test_a_changed_pdf_is_read_or_refused(
    pool: ParserPool, tmp_path: Path, what: list[tuple[str, int, int, bytes]]
) -> None:
    """In a process of its own, as one of its libraries is native code."""
    path = tmp_path / "a.pdf"
    path.write_bytes(changed(sample("pdf"), what))
    outcome = pool.parse(Fetched(path, path.name))
    assert not isinstance(outcome, Failed), outcome
    if isinstance(outcome, Rejected):
        assert outcome.reason in REJECTIONS and outcome.reason != "too_slow"
    else:
        is_sound(outcome)


def test_a_pool_does_not_grow_over_many_files(tmp_path: Path) -> None:
    """What libraries keep goes with the process: it is replaced after so many files."""
    files = []
    for kind in [*KINDS, "pdf"]:
        files.append(tmp_path / f"a.{kind}")
        files[-1].write_bytes(sample(kind))
    sizes = []
    with ParserPool(1, recycle_after=40) as pool:
        for at in range(204):
            assert isinstance(pool.parse(Fetched(files[at % 12], files[at % 12].name)), Document), files[at % 12]
            sizes.append(_resident_children())
    assert max(sizes[124:]) < max(sizes[:80]) + (32 << 20)
    assert max(sizes) < 400 << 20


def _resident_children() -> int:
    """Bytes that the processes of this one hold together."""
    sizes = (processes.read(processes.PROC / str(child) / "statm").split() for child in processes.children())
    return sum(int(size[1]) * 4096 for size in sizes if size)
