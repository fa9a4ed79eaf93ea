"""Who gets in: API keys and scopes, rate limits, client addresses, and pages of other origins."""
