"""Haystack: a pipeline of embedder and writer into the in-memory store, saved to disk. It has no FAISS store."""

from __future__ import annotations

from pathlib import Path

import peer


def prepare(model: str, home: Path, batch: int) -> tuple[peer.Ingest, int]:
    from haystack import Document, Pipeline
    from haystack.components.writers import DocumentWriter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.document_stores.types import DuplicatePolicy
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

    options = {"batch_size": batch} if batch else {}
    embedder = SentenceTransformersDocumentEmbedder(
        model=model, progress_bar=False, normalize_embeddings=True, **options
    )
    embedder.warm_up()
    embedder.run(documents=[Document(content=text) for text in peer.WARM])
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    pipeline = Pipeline()
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("embedder.documents", "writer.documents")

    def ingest(rows: peer.Rows) -> int:
        documents = [Document(id=row["id"], content=row["text"], meta={"uri": row["uri"]}) for row in rows]
        pipeline.run({"embedder": {"documents": documents}})
        store.save_to_disk(str(home / "store.json"))
        return store.count_documents()

    return ingest, embedder.batch_size


if __name__ == "__main__":
    peer.main(prepare)
