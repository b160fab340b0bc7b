"""The SQL database that decides which manifest is version v+1, and who is alive."""
