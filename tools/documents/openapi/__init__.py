"""The OpenAPI 3.1 document of the gateway, made from its route table."""
