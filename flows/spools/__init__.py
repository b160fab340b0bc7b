"""Prepared work on disk, between the source and the device."""
