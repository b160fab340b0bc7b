"""The model itself: token ids in, vectors out, as fast as this device does it."""
