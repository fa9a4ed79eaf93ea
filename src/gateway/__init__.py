"""The API gateway: every request of a client enters here."""
