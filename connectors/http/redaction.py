"""Secrets out of everything that a person or a log may read."""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus, urlsplit

E = TypeVar("E", bound=BaseException)

MARK = "***"
SHORTEST = 4
"""Shorter values are not taken out of texts: they would blacken half of every message."""
HEAD, LONG = 8, 16
"""A secret of `LONG` characters or more is known by its first `HEAD`: a message may be cut in the midst of it."""


class Redactor:
    """Knows the secret values and takes them out of texts, in every form that a request gives them. Thread-safe.

    Its `repr` shows none of them.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()

    @property
    def knows(self) -> bool:
        """Whether there is anything to take out."""
        return bool(self._forms)

    def learn(self, *secrets: str) -> None:
        """From now on these values are taken out: as they are, percent-encoded, in a JSON string, in base64."""
        new = {secret for secret in secrets if len(secret) >= SHORTEST} - self._known
        if not new:
            return
        forms = {form for secret in new for form in spellings(secret)}
        with self._lock:
            self._known |= new
            # The longest first: a secret within another one's spelling must not leave the rest of it behind.
            self._forms = tuple(sorted(forms.union(self._forms), key=lambda form: (-len(form), form)))

    def learn_basic(self, user: str, password: str) -> None:
        """The same for a user and password of basic authentication, which travel together in base64."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.learn(password, pair, pair.rstrip("="))

    def clean(self, text: str) -> str:
        """The text without any secret, nor the beginning of a long one."""
        forms = self._forms
        for form in forms:
            text = text.replace(form, MARK)
        for form in forms:
            if len(form) < LONG:
                break
            if form[:HEAD] in text:
                text = without_beginnings(text, form)
        return text

    def cleaned(self, error: E) -> E:
        """The same error, its message and those of the errors behind it without any secret."""
        if self.knows:
            for each in behind(error):
                each.args = tuple(self.clean(arg) if isinstance(arg, str) else arg for arg in each.args)
        return error


def behind(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            left += [each.__cause__, each.__context__]
            yield each


def without_beginnings(text: str, form: str) -> str:
    """The text without any piece that is the first `HEAD` characters of `form` or more."""
    at = text.find(form[:HEAD])
    while at >= 0:
        end = at + HEAD
        while end < len(text) and end - at < len(form) and text[end] == form[end - at]:
            end += 1
        text = text[:at] + MARK + text[end:]
        at = text.find(form[:HEAD], at + len(MARK))
    return text


def spellings(secret: str) -> set[str]:
    """How a secret may stand in a text."""
    data = secret.encode("utf-8", "surrogateescape")
    encoded = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode(), data.hex()}
    quoted = {quote(data), quote(data, safe=""), quote_plus(data)}
    lower = {"".join(lower_escapes(form)) for form in quoted}
    forms = {secret, *quoted, *lower, json.dumps(secret)[1:-1], repr(secret)[1:-1], html.escape(secret)}
    forms |= {*encoded, *(form.rstrip("=") for form in encoded), quote(quote(data, safe=""), safe="")}
    # Messages are one line; a key of many lines may come back folded, or one line of it alone.
    lines = [line.strip() for line in secret.splitlines()]
    forms |= {" ".join(secret.split()), *(line for line in lines if len(line) >= LONG and not line.startswith("---"))}
    return {form for form in forms if len(form) >= SHORTEST}


def lower_escapes(quoted: str) -> list[str]:
    """The same with %2f in place of %2F."""
    pieces = quoted.split("%")
    return [pieces[0], *("%" + piece[:2].lower() + piece[2:] for piece in pieces[1:])]


def shown(url: str) -> str:
    """A URL as a message may show it: without user, password, fragment and the values of its query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    if ":" in host:
        host = f"[{host}]"
    names = [piece.split("=", 1)[0] for piece in parts.query.split("&") if piece]
    query = "?" + "&".join(name + "=…" for name in names) if names else ""
    return f"{parts.scheme}://{host}{port}{parts.path}{query}"
