"""LangChain: `index()` with a record manager in SQLite, FAISS saved to a folder."""

from __future__ import annotations

from pathlib import Path

import peer


def prepare(model: str, home: Path, batch: int) -> tuple[peer.Ingest, int]:
    import faiss
    from langchain_classic.indexes import SQLRecordManager
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS
    from langchain_core.documents import Document
    from langchain_core.indexing import index
    from langchain_huggingface import HuggingFaceEmbeddings

    options = {"batch_size": batch} if batch else {}
    embeddings = HuggingFaceEmbeddings(model_name=model, encode_kwargs={"normalize_embeddings": True, **options})
    dim = len(embeddings.embed_documents(peer.WARM)[0])
    store = FAISS(embeddings, faiss.IndexFlatIP(dim), InMemoryDocstore(), {})
    records = SQLRecordManager("faiss/bench", db_url=f"sqlite:///{home / 'records.db'}")

    def ingest(rows: peer.Rows) -> int:
        records.create_schema()
        documents = [Document(row["text"], metadata={"source": row["uri"], "id": row["id"]}) for row in rows]
        index(documents, records, store, cleanup="incremental", source_id_key="source", key_encoder="blake2b")
        store.save_local(str(home / "faiss"))
        return int(store.index.ntotal)

    return ingest, batch or 32


if __name__ == "__main__":
    peer.main(prepare)
