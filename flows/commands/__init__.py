"""The command line: what can be asked, and a module for each group of commands."""
