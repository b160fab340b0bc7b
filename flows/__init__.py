"""Prefect flows, settings, the composition root and the command line."""
