"""Secrets out of everything that a person or a log may read."""

from __future__ import annotations

import base64
import json
import threading
from urllib.parse import quote, quote_plus, urlsplit

MARK = "***"
SHORTEST = 4
"""Shorter values are not taken out of texts: they would blacken half of every message."""


class Redactor:
    """Knows the secret values and takes them out of texts, in every form that a request gives them. Thread-safe.

    Its `repr` shows none of them.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()

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
        """The text without any secret."""
        for form in self._forms:
            text = text.replace(form, MARK)
        return text


def spellings(secret: str) -> set[str]:
    """How a secret may stand in a text."""
    encoded = base64.b64encode(secret.encode()).decode()
    quoted = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    lower = {"".join(lower_escapes(form)) for form in quoted}
    forms = {secret, *quoted, *lower, json.dumps(secret)[1:-1], repr(secret)[1:-1], encoded, encoded.rstrip("=")}
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
