"""Parsers and transforms of other packages: found by entry points, run where they can do no harm."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.connectors.parsing.names import names, parser_names, pipeline_versions
from penstock.connectors.parsing.pool import ParserPool, ParserUnavailable
from penstock.connectors.types import Document, Fetched, Rejected
from tests import processes
from tests.connectors import samples

Install = Callable[..., None]

OCR = """
    from penstock.connectors.parsers.parsed import Parsed, Unparsable
    class Ocr:
        name, version = "ocr", "3"
        def accepts(self, head, name): return False
        def parse(self, data, name): return Parsed(text="words seen in the picture", metadata={"dpi": "300"})
"""
SHOUT = """
    from penstock.connectors.parsers.parsed import Parsed, Unparsable
    import msgspec
    class Shout:
        name, version = "shout", "1"
        def transform(self, parsed, name):
            if "secret" in parsed.text: raise Unparsable("unsupported", "not for the index")
            if "bug" in parsed.text: raise ZeroDivisionError("oops")
            if "torn" in parsed.text: return msgspec.structs.replace(parsed, text="x")
            return msgspec.structs.replace(parsed, text=parsed.text.upper())
"""
LOGS = """
    import subprocess, time
    from pathlib import Path
    from penstock.connectors.parsers.parsed import Parsed
    class Logs:
        name, version = "logs", "7"
        def accepts(self, head, name): return head.startswith(b"LOG")
        def parse(self, data, name):
            if b"child" in data:
                child = subprocess.Popen(["sleep", "600"])
                Path(data.split()[-1].decode()).write_text(str(child.pid))
                time.sleep(600)
            return Parsed(text="a log of " + name)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package where Python finds it, here and in new processes, as pip would."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    modules = []

    def put(source: str, group: str, name: str, target: str, package: str = "acme-tools") -> None:
        module = f"{package.replace('-', '_')}_{name}"
        modules.append(module)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[penstock.{group}]\n{name} = {module}:{target}\n")
        names.cache_clear()

    yield put
    names.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def fetched(folder: Path, content: bytes, name: str = "file.txt") -> Fetched:
    path = folder / name
    path.write_bytes(content)
    return Fetched(path, name)


def test_a_third_party_parser_takes_its_own_files_first(install: Install, tmp_path: Path) -> None:
    """Kind, name and version of the document are the parser's; other files go their way."""
    install(LOGS, "parsers", "logs", "Logs")
    with ParserPool(1) as pool:
        document = pool.parse(fetched(tmp_path, b"LOG one two"))
        other = pool.parse(fetched(tmp_path, b"words"))
    assert isinstance(document, Document) and document.text == "a log of file.txt"
    assert (document.kind, document.parser) == ("logs", "logs 7; logs 7")
    assert isinstance(other, Document) and other.kind == "text"


def test_a_reason_is_routed_to_another_parser(install: Install, tmp_path: Path) -> None:
    """Scanned pages reach an OCR, which makes the document; what it cannot read is rejected in its name."""
    install(OCR, "parsers", "ocr", "Ocr")
    with ParserPool(1, route={"no_text": "ocr"}) as pool:
        document = pool.parse(fetched(tmp_path, samples.pdf("", "")))
        ordinary = pool.parse(fetched(tmp_path, samples.pdf("words")))
        empty = pool.parse(fetched(tmp_path, b""))
    assert isinstance(document, Document) and document.text == "words seen in the picture"
    assert document.kind == "ocr" and document.parser == parser_names(route={"no_text": "ocr"})["ocr"]
    assert document.metadata == {"dpi": "300"}
    assert isinstance(ordinary, Document) and ordinary.kind == "pdf"
    assert isinstance(empty, Rejected) and empty.reason == "empty"


def test_a_route_or_a_plug_in_brings_back_what_was_rejected_before(install: Install) -> None:
    """No parser bears its old name any more; the same is so for what was prepared."""
    before = parser_names()
    install(OCR, "parsers", "ocr", "Ocr")
    added, routed = parser_names(), parser_names(route={"no_text": "ocr"})
    assert not {*before.values()} & {*added.values()} and not {*added.values()} & {*routed.values()}
    assert pipeline_versions(route={"no_text": "ocr"}) == tuple(sorted(routed.values()))
    assert parser_names(plugins=[]) == before


def test_transforms_change_the_document_after_parsing(install: Install, tmp_path: Path) -> None:
    """One may reject a file; one that fails rejects it too, for its text would not be what was asked for."""
    install(SHOUT, "transforms", "shout", "Shout")
    with ParserPool(1) as pool:
        document = pool.parse(fetched(tmp_path, b"some words"))
        outcomes = [pool.parse(fetched(tmp_path, each)) for each in (b"a secret", b"a bug", b"# torn\n\n[a](b)\n\n`c`")]
    assert isinstance(document, Document) and document.text == "SOME WORDS" and document.parser.endswith("; shout 1")
    assert [each.reason for each in outcomes if isinstance(each, Rejected)] == [
        "unsupported",
        "plugin_failed",
        "plugin_failed",
    ]


def test_only_the_plug_ins_on_the_list_are_used(install: Install, tmp_path: Path) -> None:
    """None means all; a list without them leaves them out."""
    install(SHOUT, "transforms", "shout", "Shout")
    with ParserPool(1, plugins=()) as pool:
        document = pool.parse(fetched(tmp_path, b"some words"))
    assert isinstance(document, Document) and document.text == "some words"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_this_name", "No module named"),
        ("class Ocr: name = 'ocr'", "has no version, accepts, parse"),
        (OCR.replace('"ocr"', '"other"'), "calls itself 'other'"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_is_one_clear_error(install: Install, source: str, said: str) -> None:
    """It names the package, before any file is parsed; it costs nobody who left it off the list."""
    install(source, "parsers", "ocr", "Ocr")
    with pytest.raises(ParserUnavailable, match="acme-tools") as error:
        ParserPool(1)
    assert said in str(error.value) and "\n" not in str(error.value)
    ParserPool(1, plugins=[]).close()


def test_what_is_configured_and_not_there_is_an_error(install: Install) -> None:
    """A plug-in on the list, the goal of a route, a reason that is a limit, a name that is taken."""
    for arguments, said in (
        ({"plugins": ["ocr"]}, "ocr is not installed"),
        ({"route": {"no_text": "ocr"}}, "ocr, which files are routed to, is not installed"),
        ({"route": {"too_slow": "ocr"}}, "'too_slow' cannot be routed"),
    ):
        with pytest.raises(ParserUnavailable, match=said):
            ParserPool(1, **arguments)  # type: ignore[arg-type]
    install(OCR.replace('"ocr"', '"pdf"'), "parsers", "pdf", "Ocr")
    with pytest.raises(ParserUnavailable, match="calls its parser pdf, which is built in"):
        ParserPool(1)


def test_programs_that_a_plug_in_started_die_with_its_process(install: Install, tmp_path: Path) -> None:
    """Time is up for the whole group."""
    install(LOGS, "parsers", "logs", "Logs")
    told = tmp_path / "pid"
    with ParserPool(1, seconds=2) as pool:
        outcome = pool.parse(fetched(tmp_path, b"LOG child %s" % os.fsencode(told)))
        assert isinstance(outcome, Rejected) and outcome.reason == "too_slow"
    child = int(told.read_text())
    until = time.monotonic() + 20
    while not processes.gone(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert processes.gone(child)
