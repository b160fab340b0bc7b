"""What a run is to do: sources listed and compared with what the index knows."""
