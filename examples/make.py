"""Makes the example documents that are not plain text: `python examples/make.py [FOLDER]`.

The results are committed, so that the demo needs none of this. The PDF writer is by hand: a dozen objects
need no library. Running it again gives the same PDFs, byte for byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGES = [
    [
        "Capacity planning for a document pipeline",
        "",
        "Count tokens, not files. A thousand short tickets may hold fewer tokens than one",
        "annual report, and tokens are what the embedding model is paid for.",
        "",
        "Measure three rates separately: how fast the sources give documents, how fast the",
        "parsers read them, and how fast the model embeds. The slowest one limits the run.",
        "On a fast accelerator it is usually the PDF parser: give it more processor cores",
        "before you rent a second device.",
    ],
    [
        "How much disk an index needs",
        "",
        "A vector of 384 numbers in single precision takes 1,536 bytes. A million chunks",
        "therefore take about 1.5 GB for the vectors, and as much again for their text and",
        "offsets. Multiply by the number of replicas, and keep a third free for compaction.",
        "",
        "When the disk is full, a run stops before it publishes anything. Nothing is damaged:",
        "make room and run the same command again.",
    ],
]


def pdf(pages: list[list[str]]) -> bytes:
    """A PDF of lines of Latin text, in Helvetica."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        drawn = "\n".join(f"({_escaped(line)}) Tj T*" for line in lines)
        stream = f"BT /F1 11 Tf 15 TL 60 780 Td\n{drawn}\nET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    return _file(objects)


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _file(objects: list[str]) -> bytes:
    body = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    end += f"<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + end.encode("ascii")


def encrypted(data: bytes, path: Path) -> None:
    """The same, behind a password that nobody is told."""
    import io

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt("not for the pipeline", algorithm="AES-256")
    with path.open("wb") as out:
        writer.write(out)


def docx(path: Path) -> None:
    from docx import Document

    document = Document()
    document.add_heading("On-call handbook", 0)
    document.add_heading("A run did not finish", 1)
    document.add_paragraph(
        "Run the same command again. What was committed stays committed, what was prepared lies in the spool, "
        "and only a few seconds of embedding are done twice."
    )
    document.add_heading("Documents are withheld from deletion", 1)
    document.add_paragraph(
        "When more than twenty documents and more than a fifth of a source vanish at once, the deletion is "
        "withheld. Usually somebody moved a folder or a disk is not mounted. Look at the source first; confirm "
        "the deletion only when the documents are really gone."
    )
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Exit code", "Meaning"
    for code, meaning in [
        ("0", "complete"),
        ("1", "finished, something is left to do"),
        ("2", "usage or configuration"),
        ("3", "the index is unavailable or in conflict"),
    ]:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = code, meaning
    document.save(str(path))


def main(folder: Path) -> None:
    plan = pdf(PAGES)
    (folder / "capacity-planning.pdf").write_bytes(plan)
    (folder / "damaged.pdf").write_bytes(plan[:180])
    (folder / "empty.txt").write_bytes(b"")
    encrypted(plan, folder / "confidential.pdf")
    docx(folder / "on-call-handbook.docx")
    (folder / "betrieb.txt").write_text(BETRIEB, "latin-1")


BETRIEB = """Betriebshinweise für die Übernachtläufe

Der nächtliche Lauf beginnt um zwei Uhr und gleicht alle Quellen mit dem Index ab. Unveränderte Dokumente
kosten nichts. Schlägt ein Dokument fehl, wird es später erneut versucht; abgelehnte Dokumente bleiben
liegen, bis sich ihr Inhalt oder der Parser ändert.

Fällt eine Festplatte aus, antwortet die Suche weiter aus der zweiten Kopie. Für neue Läufe muss die
verlorene Kopie zuerst wiederhergestellt werden.
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "documents")
