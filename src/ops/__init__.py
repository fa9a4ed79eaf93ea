"""The operator's program: migrations, dead letters, a reconciliation of the databases, the outboxes."""
