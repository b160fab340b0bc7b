"""The one door for HTTP: budgets, retries, deadlines, limits. Everything that asks a server goes through it."""
