"""What an operator needs when something went wrong: dead letters, a reconciliation of the databases, the outboxes."""
