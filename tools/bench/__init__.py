"""Measures what the whole system takes, what an order costs each process, and whether anything grows."""
