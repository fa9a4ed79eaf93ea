"""What an API key may allow."""

from enum import StrEnum


class Scope(StrEnum):
    CATALOG_WRITE = "catalog:write"
    ORDERS_WRITE = "orders:write"
    ORDERS_READ = "orders:read"
    OPS = "ops"
