"""What the rough source truly holds: documents that are a pure function of (seed, number, revision).

The server may lie about it; a test compares with this.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

BEGAN, CHANGES = 1_700_000_000, 1_750_000_000
KINDS = ("markdown", "html", "plain")
SUFFIXES = {"markdown": "md", "html": "html", "plain": "txt"}
MEDIA = {"markdown": "text/markdown", "html": "text/html", "plain": "text/plain"}
SAID = (
    "water gate pipe turbine basin valve level flow pressure season record keeper morning spring measure report "
    "stone river winter channel bridge engine repair schedule pump meter garden letter bottle harbour signal"
)
WORDS = SAID.split()


@dataclass(slots=True)
class Entry:
    """One document. `removed`: it was there once, and is not listed any more. `changed`: the how manieth change of
    the world it was that it went through last."""

    number: int
    revision: int = 1
    removed: bool = False
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that hangs on a document."""

    name: str
    body: bytes
    media: str = "text/plain"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(slots=True)
class World:
    """`documents` entries, numbered from 1; every `attached`-th has a file, 0: none. Not thread-safe: change it
    only while no request is under way, or from the server's own thread."""

    seed: int = 0
    documents: int = 100
    attached: int = 7
    words: int = 40
    entries: dict[int, Entry] = field(default_factory=dict)
    revisions: int = 0
    """Grows with each change, so that whoever keeps a sorted listing knows when it is stale."""

    def __post_init__(self) -> None:
        for number in range(1, self.documents + 1):
            self.entries[number] = Entry(number)

    def listed(self) -> list[Entry]:
        """What is there, the newest number first, as most ticket systems list."""
        return [entry for number, entry in sorted(self.entries.items(), reverse=True) if not entry.removed]

    def get(self, number: int) -> Entry | None:
        entry = self.entries.get(number)
        return None if entry is None or entry.removed else entry

    def edit(self, number: int) -> None:
        self.revisions += 1
        self.entries[number].revision += 1
        self.entries[number].changed = self.revisions

    def remove(self, number: int) -> None:
        self.entries[number].removed = True
        self.revisions += 1

    def add(self) -> Entry:
        self.revisions += 1
        entry = Entry(max(self.entries, default=0) + 1, changed=self.revisions)
        self.entries[entry.number] = entry
        return entry

    def kind(self, entry: Entry) -> str:
        return KINDS[entry.number % len(KINDS)]

    def title(self, entry: Entry) -> str:
        return f"Record {entry.number} of the {WORDS[entry.number % len(WORDS)]}"

    def modified(self, entry: Entry) -> int:
        """Seconds since 1970; a change comes after everything that was there before it."""
        return CHANGES + entry.changed * 3600 if entry.changed else BEGAN + entry.number * 60

    def updated_at(self, entry: Entry, skew: float = 0.0) -> str:
        return datetime.fromtimestamp(self.modified(entry) + skew, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def sentences(self, entry: Entry) -> list[str]:
        """The words of a document; no other document and no other revision has the same."""
        dice = random.Random(f"{self.seed}/{entry.number}/{entry.revision}")
        said = [f"This is number {entry.number} in revision {entry.revision} of collection {self.seed}."]
        for _ in range(max(1, self.words // 8)):
            said.append(f"The {' '.join(dice.choices(WORDS, k=7))}.".replace("  ", " "))
        return said

    def body(self, entry: Entry) -> str:
        """The document in its own markup."""
        said, title = self.sentences(entry), self.title(entry)
        match self.kind(entry):
            case "markdown":
                return f"# {title}\n\n" + "\n\n".join(said) + "\n"
            case "html":
                inner = "".join(f"<p>{sentence}</p>" for sentence in said)
                return f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{inner}</body></html>"
        return "\n".join(said) + "\n"

    def file_name(self, entry: Entry) -> str:
        return f"{entry.number}.{SUFFIXES[self.kind(entry)]}"

    def attachments(self, entry: Entry) -> list[Attachment]:
        if not self.attached or entry.number % self.attached:
            return []
        text = f"Attached to {entry.number}, revision {entry.revision}. " + " ".join(self.sentences(entry))
        return [Attachment(f"note-{entry.number}.txt", text.encode())]

    def file(self, name: str) -> tuple[Entry, bytes, str] | None:
        """The entry, bytes and media type of a file name: a document's own body, or an attachment."""
        number = name.rpartition(".")[0].rpartition("-")[2]
        entry = self.get(int(number)) if number.isdigit() else None
        if entry is None:
            return None
        if name == self.file_name(entry):
            return entry, self.body(entry).encode(), MEDIA[self.kind(entry)]
        found = [attachment for attachment in self.attachments(entry) if attachment.name == name]
        return (entry, found[0].body, found[0].media) if found else None
