"""A deterministic simulation of the index: the real code, on stores, catalog, locks and time that fail by a seed."""
