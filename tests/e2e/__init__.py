"""The whole system, as three processes."""
