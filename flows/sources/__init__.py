"""Sources as a run has them: opened, with budget, door and secrets, and guarded."""
