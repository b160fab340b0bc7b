"""A run that has the device makes the vectors of a more urgent one, with the model that it has loaded anyway."""
