"""One run: prepare, embed, commit, account."""
