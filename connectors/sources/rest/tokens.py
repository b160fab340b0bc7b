"""Version tokens: equal when neither the document, nor its metadata, nor who may read it, nor its recipe changed.

A token is a base, `~`, and a digest of all but the content. The base says by its first letter what it is made of: `v`
the `version` paths, `u` the date in `updated`, `t` a date that could not be read, `d` a digest of the whole object.
"""

from __future__ import annotations

import hashlib
from typing import Any

from penstock.connectors.sources.rest.dates import Moment, moment
from penstock.connectors.sources.rest.fields import canonical, every, first, text_of
from penstock.connectors.sources.rest.options import Collection, digest

_SLACK = 2.0
"""Seconds between the moment when an API reads an object and the one in the `Date` of its answer, rounded up."""


def changed(collection: Collection, row: Any) -> Moment | None:
    """When the object last changed, as it says itself; None if it does not."""
    if not collection.updated:
        return None
    return moment(first(row, collection.updated), collection.zone, collection.date_format)


def base_of(collection: Collection, row: Any) -> str:
    """ "" for an object that is nested too deeply to tell."""
    if texts := [text_of(first(row, path)) for path in collection.versions]:
        if any(texts):
            return "v" + short("/".join(texts))
    elif at := changed(collection, row):
        return "u" + at.token()
    elif collection.updated and (text := text_of(first(row, collection.updated))):
        return "t" + short(text)
    whole = canonical(row)
    return "d" + hashlib.sha256(whole.encode()).hexdigest()[:20] if whole else ""


def token(collection: Collection, row: Any, base: str) -> str:
    """The whole token."""
    return f"{base}~{digest(collection.recipe, labels(collection, row), metadata(collection, row))}"


def token_of_detail(collection: Collection, detail: Any, listed: str) -> str:
    """The token of what was fetched: the listed one, unless the detail says, in the same terms, that it is another.

    A detail often tells dates with another precision than the list does; such tokens would differ for ever.
    """
    before, base = listed.rpartition("~")[0], base_of(collection, detail)
    if base == before or not base or base[:1] != before[:1] or base[0] == "d":
        return listed
    if base[0] == "u" and len(base.partition(".")[2]) != len(before.partition(".")[2]):
        return listed
    return token(collection, detail, base)


def may_change_unseen(collection: Collection, row: Any, now: float) -> bool:
    """Whether another change could still leave the same date: it is in whole seconds, or is a day, and is now.
    `now` is the API's own clock, in seconds since 1970, about when it read the object."""
    at = None if any(text_of(first(row, path)) for path in collection.versions) else changed(collection, row)
    if at is None or at.decimals:
        return False
    step = 1 if at.seconds % 86_400 else 86_400
    return -60 < now - at.seconds < step + _SLACK


def labels(collection: Collection, row: Any) -> tuple[str, ...]:
    """Who may read it: the texts at all the paths, sorted."""
    found = (text_of(one) for path in collection.labels for each in every(row, path) for one in _flat(each))
    return tuple(sorted({text for text in found if text}))


def metadata(collection: Collection, row: Any) -> dict[str, str]:
    """The texts at the paths; what is not there is left out."""
    found = {key: ", ".join(filter(None, map(text_of, every(row, path)))) for key, path in collection.metadata.items()}
    return {key: text for key, text in found.items() if text}


def short(text: str) -> str:
    """`text` itself if it is short and plain, else a digest of it."""
    plain = text.isascii() and text.isprintable() and len(text) <= 64 and "~" not in text
    return text if plain else "#" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:20]


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
