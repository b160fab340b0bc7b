"""Text in whatever encoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.parsers.charset import decode

TEXTS = {
    "cp1252": "Le café est très cher, déjà vu — “quoted” naïve élève.",
    "latin-1": "Øst og vest, blåbær på æbler: så er det sommer.",
    "iso8859-15": "Grüße aus München: schöne Straße, Übermut.",
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたか見当がつかぬ。",
    "euc_jp": "日本語のテキストです。これは文字コードの試験です。",
    "gb18030": "这是一个中文文本，用于测试字符编码。今天天气很好。",
    "big5": "這是一個中文文本，用於測試字元編碼。今天天氣很好。",
    "cp949": "안녕하세요. 이것은 문자 인코딩 테스트입니다.",
    "cp1251": "Привет, как дела? Это проверка кодировки текста.",
    "koi8_r": "Привет, как дела? Это проверка кодировки текста.",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_a_text_in_an_old_encoding_is_read_as_it_was_written(encoding: str) -> None:
    """One line of it is enough, and many lines give the same."""
    for text in (TEXTS[encoding], (TEXTS[encoding] + "\n") * 50):
        decoded = decode(text.encode(encoding))
        assert decoded is not None and decoded.text == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1))
def test_unicode_with_a_mark_comes_back_without_it(encoding: str, text: str) -> None:
    """UTF-8 needs no mark; the others are told by theirs."""
    decoded = decode(text.encode(encoding))
    expected = text.removeprefix("\ufeff") if encoding == "utf-8" else text
    assert decoded is not None and decoded.text == expected


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_told_by_its_zeros(encoding: str) -> None:
    """Western text has a zero in every other byte."""
    decoded = decode("Plain words, né à Paris.".encode(encoding))
    assert decoded is not None and decoded.text == "Plain words, né à Paris."


def test_a_torn_character_does_not_cost_the_rest_of_a_utf8_text() -> None:
    """One wrong byte among many right ones becomes U+FFFD."""
    decoded = decode("é".encode() * 100 + b"\xff" + "日本".encode())
    assert decoded is not None and decoded.text == "é" * 100 + "\ufffd日本"


def test_a_declared_encoding_is_believed_when_the_bytes_agree() -> None:
    """And an unknown or wrong one is not."""
    data = "Ελλάδα".encode("cp1253")
    declared = decode(data, "windows-1253")
    assert declared is not None and declared.text == "Ελλάδα"
    for wrong in ("no-such-encoding", "ascii", "utf-8", "zlib_codec", "idna"):
        decoded = decode("naïve café".encode(), wrong)
        assert decoded is not None and decoded.text == "naïve café"


@given(data=st.binary(max_size=300))
def test_any_bytes_are_text_or_none(data: bytes) -> None:
    """Nothing raises."""
    decoded = decode(data)
    assert decoded is None or isinstance(decoded.text, str)
