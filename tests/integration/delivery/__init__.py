"""Both services with events that come in any order and number."""
