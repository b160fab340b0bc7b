"""How a change becomes a version on at least W replicas: attempt, ratify, publish, recover."""
