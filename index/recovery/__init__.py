"""Getting the index back from elsewhere: DR stores, shipping, snapshots, restore."""
