"""Programs for developers; no service imports them."""
