"""No secret leaves in a text."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.http.redaction import Redactor, shown

secrets = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=8, max_size=40)


@given(secrets, st.text(max_size=20))
def test_a_secret_is_taken_out_in_every_spelling(secret: str, around: str) -> None:
    """As it is, percent-encoded in either case, as a form, in JSON, in base64."""
    redactor = Redactor()
    redactor.learn(secret)
    encoded = base64.b64encode(secret.encode()).decode()
    forms = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret), encoded]
    forms += [urlencode({"password": secret}), repr(secret)]
    for form in forms:
        cleaned = redactor.clean(f"{around} {form} {around}")
        assert secret not in cleaned.replace(around, "")
        assert encoded not in cleaned.replace(around, "")


def test_a_pair_for_basic_authentication_is_taken_out() -> None:
    """Together, as the header has it, and the password alone."""
    redactor = Redactor()
    redactor.learn_basic("me", "password1")
    pair = base64.b64encode(b"me:password1").decode()
    assert redactor.clean(f"Authorization: Basic {pair}, password1") == "Authorization: Basic ***, ***"


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    """The longer one goes first, in whatever order they were learned."""
    redactor = Redactor()
    redactor.learn("abcd")
    redactor.learn("abcdefgh")
    assert redactor.clean("x abcdefgh y abcd z") == "x *** y *** z"


def test_very_short_values_are_left_alone() -> None:
    """They would take every second word out of a message."""
    redactor = Redactor()
    redactor.learn("", "a", "abc")
    assert redactor.clean("a cab, abc") == "a cab, abc"


def test_a_redactor_shows_nothing() -> None:
    """Not by repr either."""
    redactor = Redactor()
    redactor.learn("topsecret")
    assert "topsecret" not in repr(redactor)


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    """User, password, values of the query and fragment are left out."""
    assert shown("https://u:p@h.example:8443/a/b?key=v&x=1&flag#frag") == "https://h.example:8443/a/b?key=…&x=…&flag=…"
    assert shown("http://[::1]:80/x") == "http://[::1]:80/x"
    assert shown("http://[bad") == "a URL that cannot be read"


def test_the_beginning_of_a_long_secret_is_taken_out() -> None:
    """A message that was cut at its limit may end in the midst of one."""
    redactor = Redactor()
    redactor.learn("tok-4f9a77c1e0b25d63")
    assert redactor.clean("the server says tok-4f9a77c1; check it") == "the server says ***; check it"
    assert redactor.clean("tok-4f9a77c1e0 and tok-4f9a77") == "*** and ***"
    assert redactor.clean("tok-4 is no secret") == "tok-4 is no secret"


def test_a_key_of_many_lines_is_taken_out_folded_and_line_by_line() -> None:
    """A message is one line, and a parser of keys quotes the line that it does not like."""
    redactor = Redactor()
    redactor.learn("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----")
    assert redactor.clean("bad line 9w0BAQEFAASCBKcwggSj") == "bad line ***"
    assert redactor.clean("-----BEGIN KEY----- MIIEvQIBADANBgkqhkiG 9w0BAQEFAASCBKcwggSj -----END KEY-----") == "***"


def test_an_error_is_cleaned_with_those_behind_it() -> None:
    """A traceback shows them all."""
    redactor = Redactor()
    redactor.learn("hush-hush")
    try:
        try:
            raise ValueError("inner hush-hush", 3)
        except ValueError as inner:
            raise RuntimeError("outer hush-hush") from inner
    except RuntimeError as error:
        found = redactor.cleaned(error)
    assert found.args == ("outer ***",) and found.__cause__ is not None and found.__cause__.args == ("inner ***", 3)
