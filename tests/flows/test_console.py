"""What a command writes: no secret, and nothing that drives a terminal."""

from __future__ import annotations

import io
import json
import logging

import pytest

from penstock.connectors.http.redaction import Redactor
from penstock.flows.commands.console import Console
from penstock.flows.sources import redactor as process

SECRET = 'se"cret-5a7c\\ü'


@pytest.fixture
def known() -> Redactor:
    redactor = Redactor()
    redactor.learn(SECRET)
    return redactor


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_an_error_shows_no_secret(known: Redactor, as_json: bool, verbose: bool) -> None:
    """Nor does its traceback, nor do the errors that it came from."""
    out, err = io.StringIO(), io.StringIO()
    try:
        try:
            raise ValueError(f"login with {SECRET}")
        except ValueError as inner:
            raise RuntimeError(f"no entry for {SECRET}") from inner
    except RuntimeError as error:
        Console(out, err, as_json, verbose, redactor=known).fail(error)
    said = out.getvalue() + err.getvalue()
    assert "cret-5a7c" not in said and "no entry for ***" in said
    assert ("Traceback" in said) == verbose


def test_an_answer_in_json_stays_json(known: Redactor) -> None:
    """Secrets are taken out of the strings in it, whatever they look like: never out of what JSON is made of."""
    known.learn("null", '":true')
    out = io.StringIO()
    Console(out, io.StringIO(), as_json=True, redactor=known).answer({"a": None, "b": [SECRET], "c": True}, "")
    assert json.loads(out.getvalue()) == {"a": None, "b": ["***"], "c": True}


def test_no_message_drives_the_terminal(known: Redactor) -> None:
    """A server's words may be in it; lines and columns of an answer stay."""
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, redactor=known)
    console.say("leads to \x1b]0;evil\x07 and \x9b31m")
    console.answer({}, "one\n\ttwo \x1b[2J\r")
    assert not any(c in out.getvalue() + err.getvalue() for c in "\x1b\x07\x9b\r")
    assert out.getvalue().startswith("one\n\ttwo ")


def test_a_log_shows_no_secret(monkeypatch: pytest.MonkeyPatch, known: Redactor) -> None:
    """Neither in its message, whose parts come later, nor in a traceback."""
    monkeypatch.setattr(process, "REDACTOR", known)
    out = io.StringIO()
    logger, handler = logging.getLogger("penstock.test.log"), logging.StreamHandler(out)
    logger.addHandler(handler)
    try:
        process.clean_logs("penstock.test.log")
        process.clean_logs("penstock.test.log")
        try:
            raise ValueError(SECRET)
        except ValueError:
            logger.exception("asked with %s", SECRET)
    finally:
        logger.removeHandler(handler)
    assert "asked with ***" in out.getvalue() and "ValueError: ***" in out.getvalue()
    assert len(handler.filters) == 1


def test_a_line_is_said_once_and_names_its_place_once() -> None:
    """However many blobs meet the same replica that is away; what ends the command is said in any case."""
    err = io.StringIO()
    console = Console(io.StringIO(), err)
    for _ in range(80):
        console.say("/r/0: /r/0: the store's directory is not there")
    console.say("s3://b/x: s3://b/x: away; /r/0: is fine")
    console.fail(RuntimeError("s3://b/x: away; /r/0: is fine"))
    assert err.getvalue().splitlines()[:2] == [
        "penstock: /r/0: the store's directory is not there",
        "penstock: s3://b/x: away; /r/0: is fine",
    ]
    assert len(err.getvalue().splitlines()) == 3
