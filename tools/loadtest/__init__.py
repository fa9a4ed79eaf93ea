"""The open-loop load test: k6 against the running stack, and the report of it."""
