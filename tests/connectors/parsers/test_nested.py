"""Files inside files: archives and messages, and what is done to those that mean harm."""

from __future__ import annotations

import io
import stat
import time
import zipfile
from email.message import EmailMessage

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.connectors.parsers import eml, zip
from penstock.connectors.parsers.nested import Rejections
from penstock.connectors.parsers.parsed import Parsed, Unparsable
from tests.connectors import samples

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(50)


def under(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(span.path, parsed.text[span.start : span.end].strip()) for span in parsed.headings]


def refused(data: bytes) -> Unparsable:
    with pytest.raises(Unparsable) as caught:
        zip.parse(data, "a.zip")
    return caught.value


# ── archives ─────────────────────────────────────────────────────────────────────────────────────────────


def test_each_member_is_a_section_under_its_path_parsed_as_what_it_is() -> None:
    """Its own headings lie below; pages are dropped, and what cannot be read is told."""
    parsed = zip.parse(
        samples.zipped(
            {
                "docs/a.md": b"before\n\n# One\ntext",
                "b.pdf": samples.pdf("a page"),
                "c.png": PICTURE,
                "__MACOSX/._a": b"litter",
                "docs/": b"",
                "d.csv": b"a,b\nx,1\n",
                "__init__.py": b"",
            }
        ),
        "a.zip",
    )
    assert under(parsed) == [
        (("docs/a.md",), "docs/a.md\n\nbefore"),
        (("docs/a.md", "One"), "# One\ntext"),
        (("b.pdf",), "b.pdf\n\na page"),
        (("d.csv",), "d.csv\n\na: x | b: 1"),
    ]
    assert parsed.pages == ()
    assert parsed.metadata == {
        "members": "5",
        "members_read": "3",
        "members_empty": "1",
        "members_rejected": "c.png (unsupported)",
    }


def test_an_archive_in_an_archive_is_read_two_deep_and_no_deeper() -> None:
    """A file that holds itself would never end."""
    data = samples.zipped({"deepest.txt": b"words"})
    for level in range(2):
        data = samples.zipped({f"{level}.zip": data})
    assert under(zip.parse(data, "a"))[-1] == (("1.zip", "0.zip", "deepest.txt"), "deepest.txt\n\nwords")
    assert refused(samples.zipped({"2.zip": data})).reason == "unsupported"


def test_members_that_are_bombs_links_locked_or_damaged_cost_themselves() -> None:
    """Each is told with its reason, and the rest is read."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb.txt", bytes(8 << 20))
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
        made.writestr("../../good.txt", "good words")
        made.writestr("torn.txt", b"torn words " * 50)
        made.writestr("locked.txt", b"locked words")
    data = bytearray(out.getvalue())
    locked = data.rindex(b"PK\x01\x02")
    data[locked + 8] |= 1
    data[data.index(b"torn.txt") + 12] ^= 0xFF
    parsed = zip.parse(bytes(data), "a.zip")
    assert parsed.text == "../../good.txt\n\ngood words"
    rejected = "bomb.txt (too_large), link.txt (unsupported), torn.txt (damaged), locked.txt (encrypted)"
    assert parsed.metadata["members_rejected"] == rejected


def test_an_archive_of_too_many_files_or_too_much_is_refused_whole() -> None:
    """A part of an archive, chosen by its order, would be no honest document; nested ones count as well."""
    many = samples.zipped({str(at): b"" for at in range(1_500)})
    assert refused(samples.zipped({str(at): b"" for at in range(2_001)})).reason == "too_large"
    parsed = zip.parse(samples.zipped({"words.txt": b"words", "1.zip": many, "2.zip": many}), "a")
    assert parsed.metadata["members_rejected"].endswith("2.zip (too_large)")
    assert parsed.text == "words.txt\n\nwords"


def test_a_member_that_lies_about_its_size_is_unpacked_no_further_than_it_says() -> None:
    """And is damaged then."""
    data = bytearray(samples.zipped({"a.txt": b"words " * 100_000}))
    for at in (data.index(b"PK\x03\x04") + 22, data.rindex(b"PK\x01\x02") + 24):
        data[at : at + 4] = (10).to_bytes(4, "little")
    assert refused(bytes(data)).reason == "damaged"


@pytest.mark.parametrize(
    ("members", "reason"),
    [({}, "empty"), ({"a.png": PICTURE}, "unsupported"), ({"a.txt": b" ", "b": b""}, "empty")],
)
def test_an_archive_without_anything_to_read_is_refused_for_its_commonest_reason(
    members: dict[str, bytes], reason: str
) -> None:
    """So that a locked archive says so."""
    assert refused(samples.zipped(members)).reason == reason


def test_names_written_without_the_flag_for_utf8_are_read_as_utf8() -> None:
    """Most programs forget the flag."""
    data = samples.zipped({"grun.txt": b"words"}).replace(b"grun", "grü".encode())
    assert zip.parse(data, "a").text == "grü.txt\n\nwords"


def test_the_list_of_what_was_rejected_is_short_and_ends_in_a_count() -> None:
    """Metadata have a limit of their own."""
    rejected = Rejections()
    for at in range(500):
        rejected.add(f"{at}.png", "unsupported")
    assert len(str(rejected)) < 300 and str(rejected).endswith(" and 489 more")


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 400), junk=st.binary(max_size=30))
@example(at=224, junk=bytes(9))  # a member without a name
def test_a_torn_archive_is_read_or_refused(at: int, junk: bytes) -> None:
    """With a word of the vocabulary, never by a crash."""
    data = samples.zipped({"a.txt": b"words", "b.json": b'{"a": 1}', "c.zip": samples.zipped({"d": b"words"})})
    try:
        zip.parse(data[:at] + junk + data[at + len(junk) :], "a")
    except Unparsable:
        pass


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_its_subject_a_head_and_its_plain_text() -> None:
    """The same text in HTML is not said twice."""
    made = samples.message("Grüße aus Köln", "Hello,\nworld é", "<h1>Hello</h1>")
    parsed = eml.parse(made.as_bytes(), "a.eml")
    assert parsed.text == (
        "Grüße aus Köln\n\nFrom: Ada <ada@example.org>\nTo: grace@example.org\nDate: 2020-01-03T10:00:00+01:00"
        "\n\nHello,\nworld é"
    )
    assert (parsed.title, parsed.metadata["date"]) == ("Grüße aus Köln", "2020-01-03T10:00:00+01:00")
    assert parsed.metadata["message_id"] == "<1@example.org>"


def test_a_message_of_html_alone_is_read_as_html_in_its_own_charset() -> None:
    """The charset of the part outdoes what the page says of itself."""
    page = '<html><head><meta charset="koi8-r"></head><body><p>Ελλάδα <img src="http://example.org/x"></body>'
    made = (
        b"From: a@b\nMessage-ID: <1>\nSubject: s\nContent-Type: text/html; charset=windows-1253\n"
        b"Content-Transfer-Encoding: 8bit\n\n" + page.encode("cp1253")
    )
    assert eml.parse(made, "a").text.endswith("Ελλάδα")


def test_attachments_are_sections_below_the_subject_and_unread_ones_are_told() -> None:
    """A message within the message, a table, an archive; names in any encoding."""
    made = samples.message("Outer")
    made.add_attachment(b"a,b\nx,1\n", maintype="application", subtype="octet-stream", filename="täble.csv")
    made.add_attachment(PICTURE, maintype="image", subtype="png", filename="i.png")
    made.add_attachment(samples.zipped({"in.txt": b"deep"}), maintype="application", subtype="zip", filename="z.zip")
    made.add_attachment(samples.message("Inner", "inner words"))
    parsed = eml.parse(made.as_bytes(), "a.eml")
    assert [path for path, _ in under(parsed)] == [
        ("Outer",),
        ("Outer", "täble.csv"),
        ("Outer", "z.zip"),
        ("Outer", "z.zip", "in.txt"),
        ("Outer", "Inner.eml"),
        ("Outer", "Inner.eml", "Inner"),
    ]
    assert parsed.metadata["attachments"] == "täble.csv, i.png, z.zip, Inner.eml"
    assert parsed.metadata["attachments_rejected"] == "i.png (unsupported)"
    assert parsed.text.endswith("inner words")


def test_a_file_attached_to_the_html_alone_is_not_lost_with_it() -> None:
    """The plain text is chosen, and the file comes along."""
    made = samples.message("s", "plain words")
    rich = EmailMessage()
    rich.set_content("<p>rich words", subtype="html")
    rich.add_attachment(b"file words", maintype="application", subtype="octet-stream", filename="f.txt")
    made.make_alternative()
    made.attach(rich)
    parsed = eml.parse(made.as_bytes(), "a.eml")
    assert parsed.text.endswith("\n\nplain words\n\nf.txt\n\nfile words")


def test_messages_in_messages_end_at_a_depth() -> None:
    """Two further in; the third is told and not read."""
    made = samples.message("0")
    for level in range(1, 5):
        outer = samples.message(str(level))
        outer.add_attachment(made)
        made = outer
    parsed = eml.parse(made.as_bytes(), "a.eml")
    assert max(len(span.path) for span in parsed.headings) == 5  # three subjects, two names of attachments


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: =?utf-8?B?!!!!?=",
        b"Subject: =?no-such-charset?Q?a=FF?=",
        b"Subject: =?utf-8?Q?" + b"=C3" * 2000,
        b"Subject: " + b"x" * 2_000_000,
        b"To: " + b"a@b, " * 300_000,
        b"To: " + b"(" * 100_000,
        b"Date: Thu, 99 Foo 99999 99:99:99 +9999",
        b"Content-Type: multipart/mixed",
        b'Content-Type: multipart/mixed; boundary=""\n\n--\n\n--',
        b"Content-Type: text/plain; charset=\"a\x00b\"; name*=utf-8''%ff%fe",
        b"Content-Type: ;;;;===",
        b"Content-Transfer-Encoding: base64\n\n!!!!",
        b"Content-Disposition: attachment; filename*0*=x''%; filename*9*=y",
        b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nZm9v",
    ],
)
def test_hostile_headers_are_read_as_far_as_they_go_and_at_once(head: bytes) -> None:
    """None raises, none takes seconds, none grows without bound."""
    began = time.process_time()
    parsed = eml.parse(b"From: a@b\nMessage-ID: <1>\n" + head + b"\n\nwords of the body\n", "a.eml")
    assert time.process_time() - began < 2
    assert all(len(value) <= 300 for value in parsed.metadata.values())


def test_parts_nested_a_thousand_deep_are_refused_or_read_and_no_crash() -> None:
    """The library recurses; we say what happened."""
    data = b"From: a@b\nMessage-ID: <1>\n"
    for at in range(1_000):
        data += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (at, at)
    try:
        eml.parse(data + b"Content-Type: text/plain\n\nwords", "a.eml")
    except Unparsable as error:
        assert error.reason == "damaged"


def test_what_is_sealed_in_a_message_is_told_as_encrypted() -> None:
    """The subject and the head can still be found."""
    made = EmailMessage()
    made["Subject"], made["From"] = "Sealed", "a@b"
    made.add_attachment(b"0\x80", maintype="application", subtype="pkcs7-mime", filename="smime.p7m")
    assert eml.parse(made.as_bytes(), "a").metadata["attachments_rejected"] == "smime.p7m (encrypted)"


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1), junk=st.binary(max_size=30), cut=st.integers(0, 60))
def test_a_torn_message_is_read(at: float, junk: bytes, cut: int) -> None:
    """Spans stay in order and inside."""
    made = samples.message("Outer", "words", "<p>words")
    made.add_attachment(samples.message("Inner"))
    data = made.as_bytes()
    place = int(at * len(data))
    try:
        parsed = eml.parse(data[:place] + junk + data[place + cut :], "a")
    except Unparsable:
        return
    inside = 0
    for span in parsed.headings:
        assert inside <= span.start < span.end <= len(parsed.text)
        inside = span.end
