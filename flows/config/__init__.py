"""What is configured, and where everything lies."""
