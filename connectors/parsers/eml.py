"""Messages (RFC 5322 and MIME): the words of the message, then what is attached to it, each part as its own kind."""

from __future__ import annotations

import email
from collections.abc import Callable, Iterator
from email.message import Message
from email.policy import compat32
from typing import Any

from penstock.connectors.parsers.charset import decode
from penstock.connectors.parsers.html import read_markup
from penstock.connectors.parsers.mail_headers import decoded, header, written
from penstock.connectors.parsers.nested import Allowance, Rejections, read
from penstock.connectors.parsers.parsed import Parsed, Unparsable, described, one_line, tidy
from penstock.connectors.parsers.sections import Sections

_SAID = ("from", "to", "cc")
_WORDS = ("text/plain", "text/html")
_SUFFIXES = {"text/html": ".html", "text/csv": ".csv", "text/markdown": ".md", "message/rfc822": ".eml"}
_SECRET = ("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted")


def parse(data: bytes, name: str) -> Parsed:
    """Subject, a short head (from, to, cc, date), the body, then attachments as sections under the subject.

    The body is the plain text where there is one, else the text of the HTML. Nothing that it refers to is
    loaded. Attached messages and archives are read two deep. `metadata`: `from`, `to`, `cc`, `date` (ISO 8601),
    `message_id`, `in_reply_to`, `attachments` (their names), `attachments_rejected` (names and reasons).
    Raises `Unparsable`: `damaged` when parts are nested too deeply, `too_large`.
    """
    return parse_within(data, name, Allowance())


def parse_within(data: bytes, name: str, allowance: Allowance) -> Parsed:
    """As `parse`, with what the file around it has left."""
    try:
        message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n"), policy=compat32)
        return _read(message, name, allowance)
    except RecursionError as error:
        raise Unparsable("damaged", f"the parts of {name} are nested too deeply") from error


def _read(message: Message, name: str, allowance: Allowance) -> Parsed:
    out = Sections()
    subject = header(message, "subject")
    head = {each: header(message, each) for each in _SAID} | {"date": written(message) or header(message, "date")}
    if subject:
        out.heading(1, subject)
    for key, value in head.items():
        if value:
            out.line(f"{key.capitalize()}: {value}")
    out.gap()
    body, attached = _parts(message)
    rejected = Rejections()
    for number, part in enumerate(body, 1):
        try:
            out.adopt(_body(part, name))
        except Unparsable as error:
            if error.reason != "empty":
                rejected.add(_name_of(part, number), error.reason)
    names = _attachments(out, attached, allowance, rejected)
    facts = {**head, "message_id": header(message, "message-id"), "in_reply_to": header(message, "in-reply-to")}
    facts |= {"attachments": ", ".join(names), "attachments_rejected": str(rejected)}
    return out.parsed(title=subject, metadata=described(**facts))


def _attachments(out: Sections, parts: list[Message], allowance: Allowance, rejected: Rejections) -> list[str]:
    names = []
    for number, part in enumerate(parts, 1):
        called = _name_of(part, number)
        names.append(called)
        try:
            content = _content(part)
            allowance.spend(1, len(content), called)
            if part.get_content_type() in _SECRET:
                raise Unparsable("encrypted", f"{called} needs a key")
            parsed = read(content, called, allowance)
        except Unparsable as error:
            rejected.add(called, error.reason)
            continue
        out.leave(2)
        out.heading(2, called)
        out.adopt(parsed)
    return names


def _parts(message: Message) -> tuple[list[Message], list[Message]]:
    """The parts that are the message itself, in order, and those that are attached to it."""
    body: list[Message] = []
    attached: list[Message] = []
    for part in _leaves(message):
        (body if _is_words(part) else attached).append(part)
    return body, attached


def _leaves(message: Message) -> Iterator[Message]:
    """Parts that hold no others, an attached message as one. Of alternatives the one that is read best."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inside: Any = part.get_payload()
        if not isinstance(inside, list) or part.get_content_maintype() == "message":
            yield part
        elif part.get_content_type() == "multipart/alternative":
            waiting.extend(reversed(_chosen(inside)))
        else:
            waiting.extend(reversed(inside))


def _chosen(alternatives: list[Message]) -> list[Message]:
    """Plain text if it says anything, else HTML; and what is neither, also out of those that are passed over: some
    programs attach files to the HTML alone."""
    kinds = [_says(part) for part in alternatives]
    best = next((each for each in _WORDS if each in kinds), "")
    chosen: list[Message] = []
    for part, kind in zip(alternatives, kinds, strict=True):
        if kind == best:
            chosen.append(part)
        else:
            chosen.extend(leaf for leaf in part.walk() if not leaf.is_multipart() and not _is_words(leaf))
    return chosen


def _says(part: Message) -> str:
    """text/plain or text/html, for a part with words in it, alone or inside a multipart/related; else ""."""
    for leaf in part.walk():
        if _is_words(leaf) and _content(leaf).strip():
            return leaf.get_content_type()
    return ""


def _is_words(part: Message) -> bool:
    """Whether the part is text of the message itself, and not of a file that is attached to it."""
    attached = str(part.get("Content-Disposition", "")).strip().lower().startswith("attachment")
    return part.get_content_type() in _WORDS and not attached


def _body(part: Message, name: str) -> Parsed:
    """Raises `Unparsable`."""
    found = decode(_content(part), str(_quietly(part.get_content_charset)))
    if found is None:
        raise Unparsable("unsupported", f"a part of {name} is no text in an encoding that can be recognised")
    if part.get_content_type() == "text/html":
        return read_markup(found.text, name, pruned=False)
    return Parsed(text=tidy(found.text).strip())


def _content(part: Message) -> bytes:
    inside: Any = part.get_payload()
    if isinstance(inside, list):  # an attached message, or several delivery reports
        whole = _quietly(lambda: b"\n\n".join(each.as_bytes(policy=compat32) for each in inside))
        return whole if isinstance(whole, bytes) else b""
    content = _quietly(lambda: part.get_payload(decode=True))
    return content if isinstance(content, bytes) else str(inside).encode("utf-8", "surrogateescape")


def _name_of(part: Message, number: int) -> str:
    """The file name that the part gives itself; a label, and never a path to anything."""
    own = one_line(decoded(str(_quietly(part.get_filename))))
    if own:
        return own
    inside: Any = part.get_payload()
    if isinstance(inside, list) and inside and (subject := header(inside[0], "subject")):
        return f"{subject}.eml"
    return f"part {number}{_SUFFIXES.get(part.get_content_type(), '')}"


def _quietly(get: Callable[[], object]) -> object:
    """Whatever a hostile header makes the library raise, the value is "" then."""
    try:
        return get() or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
