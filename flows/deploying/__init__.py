"""What `penstock deploy` makes of a configuration, and how it gets onto a Prefect server."""
