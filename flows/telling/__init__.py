"""What people see of a run in Prefect while it goes on: progress, throughput, tags, and events for automations."""
