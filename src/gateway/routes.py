"""The route table: what is let in, what is checked, who answers it, and what `/openapi.json` says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from aiohttp import web
from marshmallow import Schema

from gateway.operations import (
    ADJUST_STOCK,
    CANCEL_ORDER,
    CHANGE_PRODUCT,
    CREATE_ORDER,
    CREATE_PRODUCT,
    GET_HISTORY,
    GET_ORDER,
    GET_PRODUCT,
    LIST_MOVEMENTS,
    LIST_ORDERS,
    LIST_ORDERS_OF_PRODUCT,
    LIST_PRODUCTS,
    WATCH_ORDER,
    Operation,
)
from gateway.scopes import Scope
from shared.contracts.requests import (
    AdjustStock,
    ChangeProduct,
    CreateOrder,
    CreateProduct,
    NoQuery,
    OrderQuery,
    OrdersQuery,
    PageQuery,
)
from shared.web.headers import read_idempotency_key, read_if_match, read_last_event_id

_NO_QUERY = NoQuery()
_PAGE = PageQuery()

# Raises AppError for a header that the service would refuse.
ReadHeader = Callable[[web.Request], object]


@dataclass(frozen=True, slots=True)
class Route:
    """`body` is the schema of a JSON body, None where there is none; every parameter of `path` is an id.

    `scope` is what an API key needs, None for what is public. A `streamed` answer is passed on as it comes; it holds
    the data of the operation's answer, one event for each.
    """

    method: Literal["GET", "POST", "PATCH"]
    path: str
    upstream: Literal["products", "orders"]
    operation: Operation
    body: Schema | None = None
    query: Schema = _NO_QUERY
    header: ReadHeader | None = None
    scope: Scope | None = None
    streamed: bool = False


ROUTES = (
    Route(
        "POST",
        "/products",
        "products",
        CREATE_PRODUCT,
        body=CreateProduct(),
        header=read_idempotency_key,
        scope=Scope.CATALOG_WRITE,
    ),
    Route("GET", "/products", "products", LIST_PRODUCTS, query=_PAGE),
    Route("GET", "/products/{id}", "products", GET_PRODUCT),
    Route(
        "PATCH",
        "/products/{id}",
        "products",
        CHANGE_PRODUCT,
        body=ChangeProduct(),
        header=read_if_match,
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "POST",
        "/products/{id}/stock",
        "products",
        ADJUST_STOCK,
        body=AdjustStock(),
        header=read_idempotency_key,
        scope=Scope.CATALOG_WRITE,
    ),
    Route("GET", "/products/{id}/movements", "products", LIST_MOVEMENTS, query=_PAGE, scope=Scope.CATALOG_WRITE),
    Route(
        "POST",
        "/orders",
        "orders",
        CREATE_ORDER,
        body=CreateOrder(),
        header=read_idempotency_key,
        scope=Scope.ORDERS_WRITE,
    ),
    Route("GET", "/orders", "orders", LIST_ORDERS, query=OrdersQuery(), scope=Scope.ORDERS_READ),
    Route("GET", "/orders/{id}", "orders", GET_ORDER, query=OrderQuery(), scope=Scope.ORDERS_READ),
    Route("POST", "/orders/{id}/cancel", "orders", CANCEL_ORDER, scope=Scope.ORDERS_WRITE),
    Route("GET", "/orders/{id}/history", "orders", GET_HISTORY, scope=Scope.ORDERS_READ),
    Route(
        "GET",
        "/orders/{id}/events",
        "orders",
        WATCH_ORDER,
        header=read_last_event_id,
        streamed=True,
        scope=Scope.ORDERS_READ,
    ),
    Route(
        "GET", "/orders/product/{productId}", "orders", LIST_ORDERS_OF_PRODUCT, query=_PAGE, scope=Scope.ORDERS_READ
    ),
)

BY_PATTERN: Mapping[tuple[str, str], Route] = MappingProxyType({(route.method, route.path): route for route in ROUTES})
