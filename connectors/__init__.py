"""What is out there: sources, and what their files say."""
