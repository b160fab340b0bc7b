"""What people and programs are told: exit codes, verdicts, tables, progress, the page in Prefect."""
