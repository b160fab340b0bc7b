"""One process for each device, with the model loaded once; it may die, and nothing is lost."""
