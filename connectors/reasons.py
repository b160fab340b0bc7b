"""Why an item did not become a document: the whole vocabulary, one word each.

`REJECTIONS` end in `Rejected`: the item is left alone until its content or its parser changes.
`FAILURES` end in `Failed`: the item is tried again, on a schedule. `RETRIES` are why one request was repeated.
"""

from __future__ import annotations

REJECTIONS: dict[str, str] = {
    "empty": "there is nothing but white space in the file",
    "no_text": "the pages hold no text (scanned images, drawings): it needs OCR first",
    "encrypted": "a password is needed to read it",
    "damaged": "it claims to be of a kind that we read, and cannot be read as that",
    "unsupported": "it is of no kind that we read",
    "too_large": "the file or its text is larger than the limit",
    "too_slow": "parsing took longer than the limit and was stopped",
    "too_much_memory": "parsing needed more memory than the limit and was stopped",
    "crashed": "the parser process died of it",
    "plugin_failed": "a parser or transform of another package failed on it",
    "no_vector": "the model gives no vector for one of its passages, or dies of it: nothing of it is in the index",
}
NO_VECTOR = "no_vector"

FAILURES: dict[str, str] = {
    "changing": "the file changed each time while it was being read",
    "unreadable": "the operating system did not let us read it",
    "interrupted": "the parser process was stopped from outside",
    "not_installed": "the library for this kind of file is not installed",
    "vanished": "it was listed and was gone when it was fetched; the next listing tells",
    "unreachable": "no connection to the source, or it was lost",
    "throttled": "the source asked us to slow down until patience ran out",
    "server_error": "the source answered with an error of its own",
    "timed_out": "the source did not answer in time, or its answer dripped in too slowly",
    "truncated": "less came than was announced, also when asked for the rest",
    "garbled": "what came is not what its headers or its digest say, or not the JSON that was asked for",
    "forbidden": "the source does not let us read this item",
    "refused": "not asked for, because it leads to an address or a place that is not allowed",
    "connector_failed": "the connector itself failed on it: a fault of its code and not of the source",
}

RETRIES: dict[str, str] = {
    "throttled": "429, or 503 with Retry-After",
    "server_error": "500, 502, 503, 504",
    "connect": "no connection",
    "reset": "the connection was lost before or in the middle of the answer",
    "timeout": "no answer within the deadline",
    "stalled": "the body stopped coming, or came too slowly",
    "truncated": "the body was shorter than announced",
    "garbled": "wrong digest, undecodable body, JSON that is none",
    "token": "an access token had expired and was renewed",
}
