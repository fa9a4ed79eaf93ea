"""The OpenAPI 3.1 document that the gateway serves about itself."""
