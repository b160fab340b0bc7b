"""The one door to lxml: trees of elements, read from hostile text and walked without recursion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

from penstock.connectors.parsers.parsed import Unparsable

_TOO_DEEP = ("depth", "huge")


def html_tree(text: str) -> Any:
    """The root element, or None if there is none. Loads nothing; comments and instructions are left out.

    Raises `Unparsable` when elements are nested deeper than libxml2 follows (2,048), where it would drop the rest.
    """
    for huge in (False, True):  # by itself it follows 256, and real pages forget to close more than that
        reader = etree.HTMLParser(
            encoding="utf-8", huge_tree=huge, no_network=True, remove_comments=True, remove_pis=True
        )
        root = etree.fromstring(text.encode(), reader)
        cut = [each.message for each in reader.error_log if any(word in each.message.lower() for word in _TOO_DEEP)]
        if not cut:
            return root
    raise Unparsable("damaged", f"elements are nested too deeply: {cut[0]}")


def walk(root: Any, unseen: Callable[[str], bool]) -> Iterator[tuple[bool, str, Any]]:
    """(is it the start, tag, element) in document order; of an `unseen` element only the end, and nothing inside."""
    steps = etree.iterwalk(root, events=("start", "end"))
    for event, element in steps:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start" and unseen(tag):
            steps.skip_subtree()
        else:
            yield event == "start", tag, element
