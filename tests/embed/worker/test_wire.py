"""Errors that cross from one process to another."""

from __future__ import annotations

import pytest

from penstock.embed.models import UnknownModel
from penstock.embed.types import EncoderUnavailable
from penstock.embed.worker.wire import failed, raised


@pytest.mark.parametrize(
    "error", [UnknownModel("no such model"), ValueError("dtype"), ImportError("torch"), EncoderUnavailable("full", 3.0)]
)
def test_an_error_of_python_s_or_ours_arrives_as_it_is(error: Exception) -> None:
    """Class, words, and the time after which to try again."""
    there = raised(failed(1, error))
    assert (type(there), str(there)) == (type(error), str(error))
    assert getattr(there, "after", None) == getattr(error, "after", None)


@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (type("Strange", (OSError,), {"__module__": "torch.cuda"})("no room"), OSError),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "wrong"), UnicodeError),
        (type("Strange", (Exception,), {"__module__": "torch"})("odd"), RuntimeError),
        (KeyError("budget"), LookupError),
    ],
)
def test_any_other_arrives_as_the_nearest_that_can_say_the_same(error: Exception, arrives: type[Exception]) -> None:
    """No library is imported for it, and its words are kept."""
    there = raised(failed(1, error))
    assert type(there) is arrives and str(there) == str(error)
