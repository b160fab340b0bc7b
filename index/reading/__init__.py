"""From files to answers: finding replicas, the newest version, hot reload."""
