"""The names of the events that automations listen for: contracts, as the flows' names are."""

COMMIT = "penstock.commit"
BREAKER_OPEN = "penstock.source.breaker-open"
REPLICA_DEGRADED = "penstock.replica.degraded"
DELETIONS_WITHHELD = "penstock.deletions.withheld"
DRILL_FAILED = "penstock.drill.failed"
FRESHNESS_BREACHED = "penstock.freshness.breached"
