"""The internal library of the three processes. It knows no service."""
