"""The promises, each checked by a function of its own."""
