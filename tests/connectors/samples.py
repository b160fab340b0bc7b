"""Files of every kind, made here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from email.message import EmailMessage

import docx
import openpyxl
import pptx
from pptx.util import Inches
from pypdf import PdfReader, PdfWriter


def pdf(*pages: str, title: str = "") -> bytes:
    """A PDF with one line of text on each page; a page of "" holds none."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for line in pages:
        stream = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % line.encode("latin-1") if line else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R" % len(objects)
        objects.append(page + b" /Resources << /Font << /F1 3 0 R >> >> >>")
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    objects.append(b"<< /Title (%s) /Author (A. Writer) >>" % title.encode("latin-1"))
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(out) + trailer % (len(objects) + 1, len(objects), start)


def encrypted_pdf(user: str, owner: str = "owner") -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("a secret line"))))
    writer.encrypt(user, owner, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()


def word(*lines: tuple[str, str]) -> bytes:
    """A Word file of (style, text) paragraphs."""
    document = docx.Document()
    for style, text in lines:
        document.add_paragraph(text, style=style)
    return saved(document)


def repacked(archive: bytes, name: str, content: bytes) -> bytes:
    """The archive with the part `name` replaced or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            if part != name:
                new.writestr(part, old.read(part))
        new.writestr(name, content)
    return out.getvalue()


def workbook(sheets: Mapping[str, Iterable[Sequence[object]]]) -> bytes:
    """An Excel file with these rows on each sheet."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    return saved(book)


def slides(*pages: tuple[str, str], notes: str = "") -> bytes:
    """A PowerPoint file of (title, text) slides, `notes` beneath the last one."""
    show = pptx.Presentation()
    for title, text in pages:
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = title
        box = slide.shapes.add_textbox(Inches(1), Inches(3), Inches(4), Inches(1))
        box.text_frame.text = text
        if notes and (title, text) == pages[-1]:
            slide.notes_slide.notes_text_frame.text = notes
    return saved(show)


def message(subject: str = "A subject", text: str = "Words of the message.", html: str = "") -> EmailMessage:
    """A message with one text, and HTML beside it if there is any."""
    made = EmailMessage()
    made["Subject"] = subject
    made["From"], made["To"] = "Ada <ada@example.org>", "grace@example.org"
    made["Date"] = "Fri, 03 Jan 2020 10:00:00 +0100"
    made["Message-ID"] = "<1@example.org>"
    made.set_content(text)
    if html:
        made.add_alternative(html, subtype="html")
    return made


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()
