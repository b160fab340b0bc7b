"""Files to measure with, made here, so that nothing has to lie anywhere: text, a web page, a PDF.

They are easy ones. A real PDF, with its fonts and tables, may well take several times as long.
"""

from __future__ import annotations

import zlib
from itertools import islice
from pathlib import Path

_SENTENCES = (
    "The reservoir of section {n} holds rough water; the gate admits it at exactly the pace that the turbine takes.",
    "In {y} the operators measured {n} litres a second, which was well below what the engineers had promised.",
    "A slow source never holds the device, because what was fetched lies on disk before anything is computed.",
    "Whoever restores version {n} and runs again embeds precisely what differs, no more and no less.",
    "Patients who received the treatment (n = {n}) recovered in {d}.{d} days on average, the others took longer.",
    '"Is that really so?" asked the inspector, and wrote {n} into the column for pressure, in kilopascals.',
    "The boundary layer separates near the trailing edge when the Mach number exceeds 0.{d}, as the tables show.",
    "See also the notes on retries, cooldowns and quotas: nobody is asked more than {n} times an hour.",
)
_MARKUP = (
    "<!DOCTYPE html><html><head><title>{title}</title><style>p {{ margin: 0 }}</style></head><body>"
    "<nav><ul>{links}</ul></nav><main><article><h1>{title}</h1>{body}</article></main>"
    "<footer>All rights reserved. <a href='/imprint'>Imprint</a></footer></body></html>"
)


def text(number: int, size: int) -> str:
    """Prose of about `size` characters, in paragraphs; another for each `number`."""
    paragraphs: list[str] = []
    length = 0
    for n in range(number * 1000, number * 1000 + size):
        said = [_sentence(7 * n + k) for k in range(2 + n % 5)]
        paragraphs.append(" ".join(said))
        length += len(paragraphs[-1]) + 2
        if length >= size:
            break
    return "\n\n".join(paragraphs)


def html(number: int, size: int) -> str:
    """A page with navigation around the same prose."""
    title = f"Chapter {number}: what the gate lets through"
    links = "".join(f"<li><a href='/chapter/{n}'>Chapter {n}</a></li>" for n in range(40))
    body = "".join(f"<p>{paragraph}</p>" for paragraph in text(number, size).split("\n\n"))
    return _MARKUP.format(title=title, links=links, body=body)


def pdf(number: int, pages: int) -> bytes:
    """A PDF of so many pages of 50 lines, compressed, each line placed word by word as typesetting programs do."""
    words = iter(text(number, pages * 5200).split())
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman /Encoding /WinAnsiEncoding >>",
    ]
    for page in range(pages):
        lines = [list(islice(words, 14)) for _ in range(50)]
        drawn = "\n".join(f"[{' -250 '.join(f'({_escaped(word)})' for word in line)}] TJ T*" for line in lines)
        stream = zlib.compress(f"BT /F1 10 Tf 14 TL 60 800 Td\n{drawn}\nET".encode("cp1252"))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * page)
        )
        head = b"<< /Filter /FlateDecode /Length %d >>\nstream\n" % len(stream)
        objects.append(head + stream + b"\nendstream")
    return _file(objects)


def written(folder: Path) -> dict[str, list[Path]]:
    """Kind → files, in `folder`: of text and HTML eight of 20,000 characters, one PDF of eight pages."""
    made: dict[str, list[Path]] = {"text": [], "html": [], "pdf": []}
    for number in range(8):
        made["text"].append(folder / f"sample-{number}.txt")
        made["text"][-1].write_text(text(number, 20_000), "utf-8")
        made["html"].append(folder / f"sample-{number}.html")
        made["html"][-1].write_text(html(number, 20_000), "utf-8")
    made["pdf"].append(folder / "sample.pdf")
    made["pdf"][0].write_bytes(pdf(1, 8))
    return made


def _sentence(n: int) -> str:
    return _SENTENCES[n % len(_SENTENCES)].format(n=n % 997, y=1900 + n % 120, d=n % 10)


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _file(objects: list[bytes]) -> bytes:
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n" % (len(objects) + 1, table)
    return body + end + b"<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))
