"""The system on servers that fail over: every node in a network namespace of its own, on one machine."""
