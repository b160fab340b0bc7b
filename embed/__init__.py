"""Text to vectors: chunking, packing, and the model."""
