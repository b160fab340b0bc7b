"""Kinds that are not read, told by their first bytes, so that a rejection says what the file is."""

from __future__ import annotations

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"{\\rtf", "Rich Text Format"),
    (0, b"%!PS", "PostScript"),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF87a", "a GIF image"),
    (0, b"GIF89a", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"8BPS", "a Photoshop image"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (8, b"WAVE", "a sound"),
    (8, b"AVI ", "a video"),
    (0, b"ID3", "a sound"),
    (0, b"OggS", "a sound or a video"),
    (0, b"fLaC", "a sound"),
    (4, b"ftyp", "a video, a sound or an image (MPEG-4)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska)"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"\xfd7zXZ\x00", "compressed by xz"),
    (0, b"(\xb5/\xfd", "compressed by zstd"),
    (0, b"7z\xbc\xaf'\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"!<arch>\n", "an ar archive"),
    (0, b"MSCF\x00\x00", "a cabinet archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\x00asm", "a program"),
    (0, b"SQLite format 3\x00", "a SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
    (0, b"OTTO\x00", "a font"),
    (0, b"\x00\x01\x00\x00\x00", "a font"),
    (0, b"!BDN", "an Outlook mailbox"),
    (0, b"AT&TFORM", "a DjVu document"),
)
_PURE_TEXT = (b"{\\rtf", b"%!PS", b"!<arch>\n")  # of the others a text may begin with a few by chance
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_KINDS = (
    ("WordDocument", "an older Word document"),
    ("Workbook", "an older Excel workbook"),
    ("Book", "an older Excel workbook"),
    ("PowerPoint Document", "an older PowerPoint file"),
    ("__properties_version1.0", "an Outlook message"),
    ("VisioDocument", "an older Visio drawing"),
)
_OLE_DIRECTORY = 64


def signature(data: bytes) -> str:
    """What the file is, with its article; "" where the first bytes say nothing."""
    if data.startswith(b"MZ") and data[int.from_bytes(data[60:64], "little") :][:4] == b"PE\0\0":
        return "a program"
    if data.startswith(b"BM") and int.from_bytes(data[2:6], "little") == len(data):
        return "a BMP image"
    for at, magic, called in _SIGNATURES:
        if data.startswith(magic, at) and (magic in _PURE_TEXT or not _reads_as_text(data)):
            return called
    return ""


def ole_kind(data: bytes) -> str | None:
    """What an OLE compound file is: "" when it is Office Open XML under a password, None for no such file."""
    if not data.startswith(_OLE):
        return None
    names = _ole_names(data)
    if "EncryptedPackage" in names:
        return ""
    for stream, called in _OLE_KINDS:
        if any(name.startswith(stream) for name in names):
            return called
    return "an older Microsoft Office file"


def _ole_names(data: bytes) -> list[str]:
    """The names in the directory, where it is in one piece; what stands further on does not matter here."""
    sector = 1 << min(16, int.from_bytes(data[30:32], "little"))
    start = (int.from_bytes(data[48:52], "little") + 1) * sector
    names = []
    for at in range(start, min(start + 128 * _OLE_DIRECTORY, len(data)), 128):
        length = int.from_bytes(data[at + 64 : at + 66], "little")
        if 2 < length <= 64:
            names.append(data[at : at + length - 2].decode("utf-16-le", "replace"))
    return names


def _reads_as_text(data: bytes) -> bool:
    """A text may begin with "ID3" or "BZh"; what has such a name for a reason is no UTF-8."""
    head = data[:512]
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and not any(byte < 9 for byte in head)
    return not any(byte < 9 for byte in head)
