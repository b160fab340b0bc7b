"""Files to documents, in processes that may die of it."""
