"""Manifests: canonical bytes, clear refusals, and a pure step from one version to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.index.commits import manifest as manifests
from penstock.index.commits.attempt import Attempt
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.types import (
    BlobRef,
    Manifest,
    Member,
    Membership,
    RunRef,
    SegmentRef,
    SourceState,
    SpaceRef,
)


def ref(name: str) -> BlobRef:
    return BlobRef(name, 1, "")


def segment(name: str) -> SegmentRef:
    return SegmentRef(name, "flat", 3, ref(f"{name}.i"), ref(f"{name}.r"), ref(f"{name}.d"))


EMPTY = manifests.empty("lineage", 1, Membership((Member("0", "a"), Member("1", "b")), 2))


def attempt(head: Manifest, parent: str, txn: str) -> Attempt:
    return Attempt(head, parent, 1, txn, 5.0, Path(), (), print)


def grown(head: Manifest, parent: str, txn: str, **changes: Any) -> Manifest:
    return attempt(head, parent, txn).next(**changes)


FIRST = grown(
    EMPTY,
    "",
    "t1",
    spaces=manifests.spaces(EMPTY, {}, "default", {"weights": "w"}, 4, segment("s1")),
    state=(RunRef(ref("run1"), 1),),
    texts=(RunRef(ref("texts1"), 1),),
    sources=manifests.sources(EMPTY, {"b": SourceState("b", "files", "/b"), "a": SourceState("a", "files", "/a")}),
    counts={"documents": 1, "chunks": 3, "failed": 0, "rejected": 0},
)


def test_equal_manifests_have_equal_bytes() -> None:
    """Whatever order their mappings were filled in; and decoding gives them back."""
    one = FIRST
    other = msgspec.structs.replace(one, sources=dict(reversed(one.sources.items())))
    assert list(one.sources) != list(other.sources)
    assert manifests.encode(one) == manifests.encode(other)
    assert manifests.decode(manifests.encode(one)) == one


def test_a_field_that_is_not_known_yet_is_passed_over_and_a_newer_format_refused() -> None:
    """Fields are only ever added; a format is raised when they may not be passed over."""
    known = manifests.encode(EMPTY)
    assert manifests.decode(known[:-1] + b',"later":1}') == EMPTY
    with pytest.raises(WrongIndex, match="format 99"):
        manifests.decode(manifests.encode(msgspec.structs.replace(EMPTY, format=99)))


@given(st.binary(max_size=60))
def test_garbage_is_corrupt(data: bytes) -> None:
    """Never another error."""
    with pytest.raises(Corrupt):
        manifests.decode(data)


def test_a_step_adds_buries_and_removes_without_touching_what_it_began_with() -> None:
    """One version is made out of another; both stay what they are."""
    assert EMPTY.version == 0 and not EMPTY.spaces
    dead = {"default": {"s1": (ref("dead1"), 2)}}
    second = grown(
        FIRST,
        "m1",
        "t2",
        spaces=manifests.spaces(FIRST, dead, "default", {"weights": "w"}, 4, segment("s2")),
        sources=manifests.sources(FIRST, {"a": None}),
    )
    assert FIRST.spaces["default"].segments[0].dead is None
    one, two = second.spaces["default"].segments
    assert (one.id, one.dead, one.dead_count, two.id) == ("s1", ref("dead1"), 2, "s2")
    assert list(second.sources) == ["b"]
    assert (second.version, second.parent, second.txn) == (2, "m1", "t2")
    assert second.committed_at > FIRST.committed_at
    assert set(manifests.closure(second)) == {
        "s1.i", "s1.r", "s1.d", "dead1", "s2.i", "s2.r", "s2.d", "run1", "texts1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "dim"), [({"weights": "v"}, 4), ({"weights": "w", "prompt": "p"}, 4), ({"weights": "w"}, 5)]
)
def test_another_identity_is_refused(identity: dict[str, str], dim: int) -> None:
    """And a space that is not there yet takes any."""
    head = msgspec.structs.replace(EMPTY, spaces={"default": SpaceRef(4, {"weights": "w"})})
    with pytest.raises(WrongIndex, match="configure that model or start another home"):
        manifests.check_identity(head, "default", identity, dim)
    manifests.check_identity(head, "other", identity, dim)
    manifests.check_identity(head, "default", {"weights": "w"}, 4)
