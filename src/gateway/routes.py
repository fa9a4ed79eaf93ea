"""The route table: what is let in, what is checked, and who answers it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from marshmallow import Schema

from shared.contracts.requests import CreateOrder, CreateProduct, NoQuery, OrdersQuery, PageQuery

_NO_QUERY = NoQuery()
_PAGE = PageQuery()


@dataclass(frozen=True, slots=True)
class Route:
    """`body` is the schema of a JSON body, None where there is none; every parameter of `path` is an id."""

    method: Literal["GET", "POST"]
    path: str
    upstream: Literal["products", "orders"]
    body: Schema | None = None
    query: Schema = _NO_QUERY


ROUTES = (
    Route("POST", "/products", "products", body=CreateProduct()),
    Route("GET", "/products", "products", query=_PAGE),
    Route("GET", "/products/{id}", "products"),
    Route("POST", "/orders", "orders", body=CreateOrder()),
    Route("GET", "/orders", "orders", query=OrdersQuery()),
    Route("GET", "/orders/{id}", "orders"),
    Route("GET", "/orders/product/{productId}", "orders", query=_PAGE),
)

BY_PATTERN: Mapping[tuple[str, str], Route] = MappingProxyType({(route.method, route.path): route for route in ROUTES})
