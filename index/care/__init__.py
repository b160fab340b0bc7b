"""What keeps an index well: verify, repair, compaction, collection, export."""
