"""The operator's program: migrations, dead letters, reconciliation, repair, outboxes, archive, the broker's users."""
