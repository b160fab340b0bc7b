"""One file per document kind: bytes in, `Document` out."""
