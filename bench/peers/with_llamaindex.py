"""LlamaIndex: an IngestionPipeline with a document store, its cache and FAISS, all persisted."""

from __future__ import annotations

from pathlib import Path

import peer


def prepare(model: str, home: Path, batch: int) -> tuple[peer.Ingest, int]:
    import faiss
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import Document
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.faiss import FaissVectorStore

    options = {"embed_batch_size": batch} if batch else {}
    embedding = HuggingFaceEmbedding(model_name=model, **options)
    dim = len(embedding.get_text_embedding_batch(peer.WARM)[0])
    store = FaissVectorStore(faiss.IndexFlatIP(dim))
    pipeline = IngestionPipeline(transformations=[embedding], docstore=SimpleDocumentStore(), vector_store=store)

    def ingest(rows: peer.Rows) -> int:
        # the uri is kept, and not embedded: all embed the same text
        documents = [
            Document(
                text=row["text"], id_=row["id"], metadata={"uri": row["uri"]}, excluded_embed_metadata_keys=["uri"]
            )
            for row in rows
        ]
        pipeline.run(documents=documents)
        pipeline.persist(str(home / "pipeline"))
        store.persist(str(home / "faiss.index"))
        return int(store.client.ntotal)

    return ingest, embedding.embed_batch_size


if __name__ == "__main__":
    peer.main(prepare)
