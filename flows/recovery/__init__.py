"""Disaster recovery as commands and flows have it: DR stores, shipping beside a run, restore, drill."""
