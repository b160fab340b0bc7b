"""Models that somebody else runs: any OpenAI-compatible endpoint."""
