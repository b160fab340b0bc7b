"""Bytes to text, in whatever encoding. The one door to charset_normalizer.

Order: byte order mark, the encoding that the document itself declares, UTF-8, UTF-16 without a mark, and
only then a guess. What is rich in control characters is not text in any encoding.
"""

from __future__ import annotations

import codecs
import re

import msgspec

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Guesses are made among encodings that documents are found in, not among every table ever drawn up.
_CANDIDATES = [
    "cp1252", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949",
    "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "cp866",
]  # fmt: skip
# The letters beyond ASCII of one language each: real text keeps to one set, a wrong guess mixes them.
_WESTERN = [
    frozenset(letters)
    for letters in (
        "àâæçéèêëîïíôœùûüÿ", "äöüßéàâ", "áéíóúüñçºª", "áâãàçéêíóôõúüºª", "àèéìíîòóùú", "åäöæøéèüôóòê",
        "áéíóúýþæöð", "áéèëêïíóöôúüûç",
    )
]  # fmt: skip
_TYPOGRAPHY = frozenset("“”„‘’‚–—…•«»‹›°§©®™£€¢¡¿·´¨±²³½¼¾×÷µ¶†‡‰˜\xa0\xad")
_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_JUDGED = 1 << 16
_GUESSED = 1 << 18


class Decoded(msgspec.Struct, frozen=True):
    """Text without its byte order mark, and the encoding it was in."""

    text: str
    encoding: str


def decode(data: bytes, declared: str = "") -> Decoded | None:
    """The text of `data`, or None if it is not text. `declared` is what the document says of itself.

    Bytes that are wrong in a text which is otherwise clear become U+FFFD: a torn character must not cost
    the document.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _text(data[len(mark) :].decode(encoding, "replace"), encoding)
    for encoding in (_known(declared), "utf-8", _unmarked_utf16(data)):
        try:
            if encoding:
                return _text(data.decode(encoding), encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return _nearly_utf8(data) or _guessed(data)


def _known(declared: str) -> str:
    """The codec for a declared encoding; a page that says latin-1 means cp1252, as every browser reads it."""
    try:
        name = codecs.lookup(declared).name if declared else ""
    except (LookupError, ValueError):  # no such codec; a NUL in its name
        return ""
    if name in ("idna", "punycode") or "escape" in name:  # no encoding of documents, and slow on long ones
        return ""
    if name in ("iso8859-1", "ascii"):
        return ""  # said by habit more than by knowledge: UTF-8 first, then a guess that includes cp1252
    return "" if name.startswith(("utf-16", "utf-32", "utf-7")) else name


def _unmarked_utf16(data: bytes) -> str:
    """UTF-16 without a mark: every other byte of mostly Western text is zero."""
    head = data[:_JUDGED]
    half = len(head) // 2
    if half < 4 or len(data) % 2:
        return ""
    if head[1::2].count(0) > half * 0.6 and head[0::2].count(0) < half * 0.05:
        return "utf-16-le"
    if head[0::2].count(0) > half * 0.6 and head[1::2].count(0) < half * 0.05:
        return "utf-16-be"
    return ""


def _nearly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few wrong bytes: far more characters beyond ASCII came out right than wrong."""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    right = len(text) - wrong - sum(1 for byte in data if byte < 0x80)
    return _text(text, "utf-8") if right > 10 * wrong else None


def _guessed(data: bytes) -> Decoded | None:
    sample = data[:_GUESSED]
    if len(data) > _GUESSED:  # end at a line: no encoding here uses that byte inside a character
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    if not _is_text(sample.decode("latin-1")):
        return None
    encoding = _evident(sample)
    if not encoding:
        from charset_normalizer import from_bytes  # only for the few files that need it

        best = from_bytes(sample, cp_isolation=_CANDIDATES, threshold=0.3).best()
        encoding = best.encoding if best is not None else "cp1252"
    return _text(data.decode(encoding, "replace"), encoding)


def _evident(sample: bytes) -> str:
    """Encodings that a statistical guess confuses with their neighbours, where the letters settle it."""
    for encoding, is_right in (("cp1252", _is_western), ("cp932", _is_japanese), ("euc_jp", _is_japanese)):
        try:
            if is_right(sample.decode(encoding)):
                return encoding
        except UnicodeDecodeError:
            continue
    return ""


def _is_western(text: str) -> bool:
    beyond = [char for char in text.lower() if char > "\x7f"]
    letters = {char for char in beyond if char.isalpha()}
    others = set(beyond) - letters
    plain = sum(char.isascii() and char.isalpha() for char in text)
    return others <= _TYPOGRAPHY and len(beyond) <= plain and any(letters <= each for each in _WESTERN)


def _is_japanese(text: str) -> bool:
    """A fifth of Japanese is kana, and nothing else has them. Half-width ones often are a misreading."""
    beyond = sum(char > "\x7f" for char in text)
    return sum("\u3041" <= char <= "\u30ff" for char in text) * 5 > beyond


def _text(text: str, encoding: str) -> Decoded | None:
    return Decoded(text=text, encoding=encoding) if _is_text(text[:_JUDGED]) else None


def _is_text(head: str) -> bool:
    """One control character in a hundred is a quirk; more is a binary file."""
    return len(_CONTROL.findall(head)) <= max(1, len(head) // 100)
