"""What the words after `ingest` mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.flows.answers.exits import UsageError
from penstock.flows.plans.targets import nothing_there, resolve
from penstock.index.types import SourceState


def source(name: str, path: Path) -> SourceState:
    return SourceState(name=name, type="files", binding=str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "a.txt").write_text("a")
    return tmp_path / "docs"


def one(words: list[str], known: dict[str, SourceState] | None = None, name: str | None = None):  # type: ignore[no-untyped-def]
    (target,) = resolve(words, name=name, known=known or {}, configured={})
    return target


def test_a_folder_is_a_source_named_after_it(folder: Path) -> None:
    """A new folder becomes a source of its own name, taken whole."""
    target = one([str(folder)])
    assert (target.source.name, target.source.binding, target.complete) == ("docs", str(folder), True)


def test_the_same_folder_is_the_same_source(folder: Path) -> None:
    """A folder that the index knows is that source, whatever it is called."""
    assert one([str(folder)], {"wiki": source("wiki", folder)}).source.name == "wiki"


def test_another_folder_of_the_same_name_gets_a_number(folder: Path, tmp_path: Path) -> None:
    """Two folders called docs are two sources."""
    assert one([str(folder)], {"docs": source("docs", tmp_path / "elsewhere")}).source.name == "docs-2"


def test_a_path_inside_a_source_is_a_part_of_it(folder: Path) -> None:
    """A file or folder inside a known source is a partial ingest of that source."""
    known = {"docs": source("docs", folder)}
    for inside in (folder / "deep", folder / "a.txt"):
        target = one([str(inside)], known)
        assert (target.source.name, target.under, target.complete) == ("docs", (inside,), False)


def test_a_lone_file_is_adhoc(folder: Path) -> None:
    """A file outside every source belongs to adhoc, from which nothing is ever inferred."""
    target = one([str(folder / "a.txt")])
    assert (target.source.name, target.complete) == ("adhoc", False)


def test_a_name_means_the_known_source(folder: Path) -> None:
    """A word that is no path is looked up among the sources."""
    assert one(["wiki"], {"wiki": source("wiki", folder)}).source.binding == str(folder)


def test_a_word_with_two_meanings_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source's name that is also another folder here is not guessed at."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="also a path"):
        one(["docs"], {"docs": source("docs", tmp_path / "elsewhere")})
    assert one(["./docs"], {"docs": source("docs", tmp_path / "elsewhere")}).source.name == "docs-2"
    assert one(["docs"], {"docs": source("docs", folder)}).source.name == "docs"


def test_parts_of_one_source_are_one_target(folder: Path) -> None:
    """Several paths of a source are listed together; the whole source swallows its parts."""
    known = {"docs": source("docs", folder)}
    assert len(one([str(folder / "deep"), str(folder / "a.txt")], known).under) == 2
    assert one([str(folder / "deep"), str(folder)], known).complete


@pytest.mark.parametrize("wish", ["adhoc", "a/b", "", "../x", "a b"])
def test_a_bad_name_is_refused(folder: Path, wish: str) -> None:
    """--as takes a plain name."""
    with pytest.raises(UsageError, match="--as"):
        one([str(folder)], name=wish)


def test_a_name_that_is_bound_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    """--as never moves a source on the quiet: it says how to rebind."""
    with pytest.raises(UsageError, match="rebind"):
        one([str(folder)], {"wiki": source("wiki", tmp_path)}, name="wiki")


def test_a_configured_source_that_moved_is_refused(folder: Path, tmp_path: Path) -> None:
    """The file and the index must agree where a source is."""
    with pytest.raises(UsageError, match="rebind"):
        resolve([], name=None, known={"w": source("w", tmp_path)}, configured={"w": source("w", folder)})


def test_a_word_that_is_nothing_is_refused() -> None:
    """A wrong path is one clear line."""
    with pytest.raises(UsageError, match="no such file"):
        one(["/no/such/place"])


@pytest.mark.parametrize("word", ["path", "name"])
def test_a_known_folder_keeps_its_name(folder: Path, word: str) -> None:
    """--as with another name would index the same folder twice: it is refused."""
    known = {"wiki": source("wiki", folder)}
    with pytest.raises(UsageError, match="is the source wiki already"):
        one([str(folder) if word == "path" else "wiki"], known, name="other")
    assert one([str(folder)], known, name="wiki").source.name == "wiki"


def test_what_is_gone_from_a_source_is_taken_out_by_a_run_of_that_source(folder: Path) -> None:
    """A part of a source infers no deletion; the message says what does. Elsewhere there is nothing to say."""
    known = {"docs": source("docs", folder)}
    with pytest.raises(UsageError, match=r"no such file or folder in the source docs; .*`penstock ingest docs`"):
        one([str(folder / "gone.txt")], known)
    with pytest.raises(UsageError, match="no such file, folder or source"):
        one([str(folder.parent / "gone.txt")], known)
    assert "`penstock ingest docs`" in str(nothing_there(folder / "gone.txt", known.values()))
