"""What the index stores and what it answers. `FORMAT.md` is the contract for the stored ones.

Stored types are msgspec structs written as canonical JSON (fields in this order, mapping keys sorted).
Fields are only ever added, with defaults; a reader refuses a `format` higher than it knows.
"""

from __future__ import annotations

import msgspec

FORMAT = 2
"""What this code writes; it reads this and all before."""


class BlobRef(msgspec.Struct, frozen=True):
    """An immutable blob: `blobs/{name[:2]}/{name}` with name = `{sha256 of all its bytes}.{txn}`.

    `size` is in bytes, trailer included. `sums` is the XXH3-128 (hex) of the trailer, which holds an
    XXH3-64 for each 4 MiB block: enough to check any block without reading the rest.
    """

    name: str
    size: int
    sums: str


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one vector. Its ordinal in the segment is its FAISS id. Offsets count characters."""

    chunk_id: str
    uri: str
    text: str
    start: int
    end: int
    tokens: int
    page: int | None = None
    heading: tuple[str, ...] = ()
    title: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class DocText(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parsed text of one document, kept so that it can be chunked and embedded again without its source.

    `pages` are (start, end, page), `headings` (start, end, path).
    """

    uri: str
    content: str
    text: str
    kind: str = ""
    title: str = ""
    pages: tuple[tuple[int, int, int], ...] = ()
    headings: tuple[tuple[int, int, tuple[str, ...]], ...] = ()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()


class DocState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the index knows of one document; `uri` is the key. Times are seconds since the epoch.

    `status`: `indexed`; `rejected` (until content or parser changes); `failed` (to be tried again);
    `deleted` (only inside runs: it hides older entries and is dropped by compaction).
    A document that failed while an older version of it is served keeps `chunks` > 0.

    `locator` is kept where a document failed or was rejected: enough to fetch it again without a listing. `modified`
    is the source's word (0: none), `fetched_at` when these bytes came, `run` the run that they came with, `retries`
    how many requests had to be repeated for them. `carried` is a digest of what the configuration (before the point)
    and the source (after it) add to each chunk: labels and metadata.
    """

    uri: str
    source: str
    status: str
    version: str = ""
    content: str = ""
    parser: str = ""
    size: int = -1
    chunks: int = 0
    tokens: int = 0
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    next_try: float = 0.0
    changed_at: float = 0.0
    locator: str = ""
    modified: float = 0.0
    fetched_at: float = 0.0
    run: str = ""
    retries: int = 0
    carried: str = ""


class SegmentRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """An immutable FAISS file with the rows of its vectors.

    `index`: the FAISS file (kind `flat`: IndexFlatIP, raw float32 vectors inside; kind `ivf`: an
    IndexIVFScalarQuantizer, ids are ordinals). `rows`: table of `Row` by ordinal. `docs`: table of (uri, first
    ordinal, count) by uri. `dead`: roaring bitmap of dead ordinals. Of kind `ivf` also: `vectors`, an IndexFlatIP
    with the raw float32 vectors, and `quantizer`, the trained empty index that `index` was made with. `facets`:
    which ordinals carry which label, metadata and source (absent in segments of format 1).
    """

    id: str
    kind: str
    count: int
    index: BlobRef
    rows: BlobRef
    docs: BlobRef
    dead: BlobRef | None = None
    dead_count: int = 0
    tokens: int = 0
    provenance: dict[str, str] = msgspec.field(default_factory=dict)
    vectors: BlobRef | None = None
    quantizer: BlobRef | None = None
    facets: BlobRef | None = None


class Canaries(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the encoder that made a space's first vectors makes of fixed texts: another one is judged by it.

    `texts` names the set of texts. `vectors`: float16 little-endian, a row of the space's `dim` for each text. `ids`:
    the model's token ids of the first few texts, for who compares without a tokenizer. `provenance`: that encoder's.
    """

    texts: str
    vectors: bytes
    ids: tuple[tuple[int, ...], ...] = ()
    provenance: dict[str, str] = msgspec.field(default_factory=dict)


class Baseline(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a space's vectors are like: sums over all that were ever committed, those that are dead by now included.

    `kind` names what is summed; sums of another kind are not added to these, they replace them. `vector`: float32
    little-endian (dim,).
    """

    kind: str
    figures: dict[str, float]
    vector: bytes


class SpaceRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way of making vectors. `identity` decides what may share the space; `dim` is its width.

    `quantizer`: the trained empty index that the next `ivf` segment is made with; `trained_for`: how many
    vectors the space had when it was trained. `canaries` None: made before there were any.
    """

    dim: int
    identity: dict[str, str] = msgspec.field(default_factory=dict)
    segments: tuple[SegmentRef, ...] = ()
    quantizer: BlobRef | None = None
    trained_for: int = 0
    canaries: Canaries | None = None
    baseline: Baseline | None = None


class RunRef(msgspec.Struct, frozen=True):
    """A sorted run of `DocState`, or a table of `DocText`, by uri."""

    blob: BlobRef
    count: int


class SourceState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A source's identity. `binding` is where it is now (a path or URL); documents never repeat it.

    `cursor`: the changes feed may go on from here; everything before it is in document state, failures included.
    `listed_at`: when a full listing was last complete; `described`: a digest of what the configuration said of it then.
    `origin`: `configuration` if a file described it.
    """

    name: str
    type: str
    binding: str
    cursor: str = ""
    held: str = ""
    listed_at: float = 0.0
    origin: str = ""
    described: str = ""


class Member(msgspec.Struct, frozen=True):
    """One replica of the set; `incarnation` changes when it is rebuilt from nothing."""

    id: str
    incarnation: str


class Membership(msgspec.Struct, frozen=True):
    replicas: tuple[Member, ...]
    write_quorum: int


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that one version of the index is."""

    format: int
    lineage: str
    version: int
    epoch: int
    txn: str
    parent: str
    """Name of the manifest of version - 1; empty for version 1."""
    committed_at: float
    """Seconds since the epoch; grows strictly with the version."""
    membership: Membership
    live: str = "default"
    spaces: dict[str, SpaceRef] = msgspec.field(default_factory=dict)
    state: tuple[RunRef, ...] = ()
    """Oldest first; a later run hides an earlier one."""
    texts: tuple[RunRef, ...] = ()
    sources: dict[str, SourceState] = msgspec.field(default_factory=dict)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    """`documents` and `chunks` served by the live space, `failed`, `rejected`."""


class Hit(msgspec.Struct, frozen=True):
    """One answer. `score` is the inner product in float64 of the stored float32 vectors."""

    uri: str
    score: float
    text: str
    page: int | None
    start: int
    end: int
    chunk_id: str
    heading: tuple[str, ...] = ()
    title: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Finding(msgspec.Struct, frozen=True):
    """One thing that `verify` found wrong: where, what, and what to do about it.

    `kind`: `unreachable`, `foreign` (of another index, or of a history that was given up), `marker`, `log`, `blob`,
    `catalog`, `history` (the versions do not follow one another) or `documents`.
    """

    where: str
    what: str
    remedy: str
    kind: str = ""
