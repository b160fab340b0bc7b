"""Immutable files whose every byte is checked, tables in them, and reading them from whichever replica answers."""
