"""Why an item did not become a document: the whole vocabulary, one word each.

`REJECTIONS` end in `Rejected`: the item is left alone until its content or its parser changes.
`FAILURES` end in `Failed`: the item is tried again by a later run.
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
}

FAILURES: dict[str, str] = {
    "changing": "the file changed each time while it was being read",
    "unreadable": "the operating system did not let us read it",
    "interrupted": "the parser process was stopped from outside",
    "not_installed": "the library for this kind of file is not installed",
}
