"""Vectors kept safe. `Reader` and `Hit` are the public API; importing them loads neither torch nor prefect."""

from penstock.index.types import Hit as Hit
