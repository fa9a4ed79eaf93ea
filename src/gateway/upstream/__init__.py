"""Where a request goes: the addresses of a service, their circuit breakers, and how many requests may be in flight."""
