"""Patterns mean what they mean in a .gitignore file, except that nothing is taken back with a !."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.sources.globs import Globs

MATCHES = {
    "*.pdf": (["a.pdf", "x/a.pdf", ".pdf", "x.pdf/within"], ["a.pdfx", "apdf", "a.PDF"]),
    "**/*.pdf": (["a.pdf", "x/y/a.pdf"], ["a.txt"]),
    "docs": (["docs", "docs/a", "x/docs/a"], ["docs2", "mydocs/a"]),
    "docs/": (["docs/a", "x/docs/b/c"], ["docs", "x/docs"]),
    "/docs": (["docs", "docs/a"], ["x/docs"]),
    "a/b": (["a/b", "a/b/c"], ["x/a/b", "a/bc"]),
    "a/**": (["a/b", "a/b/c"], ["a", "b"]),
    "a/**/z": (["a/z", "a/b/z", "a/b/c/z"], ["z", "a/zz", "az"]),
    "a/*/z": (["a/b/z"], ["a/z", "a/b/c/z"]),
    "**": (["a", "a/b"], []),
    "a?c": (["abc", "x/a.c"], ["ac", "a/c"]),
    "[a-c]1": (["a1", "x/c1"], ["d1", "A1"]),
    "[!a]1": (["b1"], ["a1", "x/1"]),
    "[]]": (["]"], ["["]),
    "a[.]b": (["a.b"], ["axb"]),
    r"\*": (["*"], ["a"]),
    r"a\[b": (["a[b"], ["ab"]),
    "x*y*z": (["xyz", "x1y2z"], ["x/y/z"]),
    "a\nb*": (["a\nb\nc"], ["ab"]),
    "(a|b)+.": (["(a|b)+."], ["a.", "b"]),
}


@pytest.mark.parametrize("pattern", MATCHES)
def test_a_pattern_names_these_paths_and_not_those(pattern: str) -> None:
    """The same whether it includes or excludes."""
    yes, no = MATCHES[pattern]
    including, excluding = Globs([pattern]), Globs(exclude=[pattern])
    assert [path for path in yes + no if including.wants_file(path)] == yes
    assert [path for path in yes + no if not excluding.wants_file(path)] == yes


def test_exclude_wins_and_several_patterns_add_up() -> None:
    """What any pattern of a list names is named."""
    globs = Globs(["*.md", "*.txt"], ["drafts/", "/old.md"])
    paths = ["a.md", "x/b.txt", "c.pdf", "x/drafts/a.md", "old.md", "x/old.md"]
    assert [path for path in paths if globs.wants_file(path)] == ["a.md", "x/b.txt", "x/old.md"]
    assert Globs().wants_file("anything/at all")


def test_an_excluded_folder_is_not_entered() -> None:
    """One that is only not included is: what is below it may be wanted."""
    globs = Globs(["*.md"], ["tmp/", "*.cache", "a/**"])
    assert not globs.enters("tmp") and not globs.enters("x/tmp") and not globs.enters("tmp/below")
    assert not globs.enters("x.cache") and not globs.enters("a/b")
    assert globs.enters("other") and globs.enters("a")


@pytest.mark.parametrize("pattern", ["", "/", "//", "a//b", "../a", "./a", "a/..", "!a", "[a", "a\\", "[z-a]", "[!"])
def test_what_could_match_nothing_is_refused(pattern: str) -> None:
    """In one line with the key, the pattern and what to write."""
    for key, globs in (("include", lambda: Globs([pattern])), ("exclude", lambda: Globs(exclude=[pattern]))):
        with pytest.raises(ValueError, match=f"^{key} ") as error:
            globs()
        assert "\n" not in str(error.value)


@given(pattern=st.text(alphabet="ab*?[]!-^\\/.&|~", max_size=12), path=st.text(alphabet="ab/.]^-\\", max_size=12))
def test_any_pattern_is_understood_or_refused(pattern: str, path: str) -> None:
    """Never another error; and a plain name matches itself."""
    try:
        globs = Globs([pattern])
    except ValueError:
        return
    globs.wants_file(path)
    globs.enters(path)
