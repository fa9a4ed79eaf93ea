"""What crosses a process boundary: request bodies, queries and event data, as marshmallow schemas."""
