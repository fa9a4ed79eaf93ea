"""The API gateway: the only door."""
