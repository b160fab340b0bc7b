"""Where a document is cut."""
