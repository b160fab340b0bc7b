"""What runs and the index are like, as figures for Prometheus and as lines for a log."""
