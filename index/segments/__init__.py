"""Vectors in FAISS files with their rows: built, merged, searched exactly and in order."""
