"""txtai: embeddings with their content in SQLite and FAISS, upserted by id and saved."""

from __future__ import annotations

from pathlib import Path

import peer


def prepare(model: str, home: Path, batch: int) -> tuple[peer.Ingest, int]:
    from txtai import Embeddings

    options = {"encodebatch": batch} if batch else {}
    embeddings = Embeddings(path=model, content=True, **options)
    embeddings.batchtransform(peer.WARM)

    def ingest(rows: peer.Rows) -> int:
        embeddings.upsert((row["id"], {"text": row["text"], "uri": row["uri"]}, None) for row in rows)
        embeddings.save(str(home / "index"))
        return int(embeddings.count())

    return ingest, batch or 32


if __name__ == "__main__":
    peer.main(prepare)
