"""Whether vectors are what they should be, before anything is written."""
