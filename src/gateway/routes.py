"""The route table: what is let in, what is checked, and which service answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from aiohttp import web
from marshmallow import Schema

from gateway.scopes import Scope
from shared.contracts import requests
from shared.web.headers import read_idempotency_key, read_if_match, read_if_none_match, read_last_event_id

_NO_QUERY = requests.NoQuery()
_PAGE = requests.PageQuery()

# Raises AppError for a header that the service would refuse.
ReadHeader = Callable[[web.Request], object]


@dataclass(frozen=True, slots=True)
class Route:
    """A request that is forwarded to the service that its path begins with; every parameter of the path is an id.

    `body` is the schema of the JSON body, None if there is no body. `scope` is what an API key needs, None if the
    route is public. A `streamed` answer is passed on as it comes.
    """

    method: Literal["GET", "POST", "PATCH"]
    path: str
    body: Schema | None = None
    query: Schema = _NO_QUERY
    headers: tuple[ReadHeader, ...] = ()
    scope: Scope | None = None
    streamed: bool = False

    @property
    def upstream(self) -> str:
        return self.path.split("/")[1]


ROUTES = (
    Route(
        "POST",
        "/products",
        body=requests.CreateProduct(),
        headers=(read_idempotency_key,),
        scope=Scope.CATALOG_WRITE,
    ),
    Route("GET", "/products", query=requests.ProductsQuery()),
    Route("GET", "/products/{id}"),
    Route(
        "PATCH",
        "/products/{id}",
        body=requests.ChangeProduct(),
        headers=(read_if_match, read_idempotency_key),
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "POST",
        "/products/{id}/stock",
        body=requests.AdjustStock(),
        headers=(read_idempotency_key,),
        scope=Scope.CATALOG_WRITE,
    ),
    Route("GET", "/products/{id}/movements", query=_PAGE, scope=Scope.CATALOG_WRITE),
    Route("POST", "/orders", body=requests.CreateOrder(), headers=(read_idempotency_key,), scope=Scope.ORDERS_WRITE),
    Route("GET", "/orders", query=requests.OrdersQuery(), scope=Scope.ORDERS_READ),
    Route("GET", "/orders/{id}", query=requests.OrderQuery(), headers=(read_if_none_match,), scope=Scope.ORDERS_READ),
    Route("PATCH", "/orders/{id}", body=requests.ChangeOrder(), scope=Scope.ORDERS_WRITE),
    Route("POST", "/orders/{id}/confirm", scope=Scope.ORDERS_WRITE),
    Route("POST", "/orders/{id}/hold", body=requests.HoldOrder(), scope=Scope.ORDERS_WRITE),
    Route("POST", "/orders/{id}/cancel", scope=Scope.ORDERS_WRITE),
    Route("GET", "/orders/{id}/history", scope=Scope.ORDERS_READ),
    Route("GET", "/orders/{id}/events", headers=(read_last_event_id,), scope=Scope.ORDERS_READ, streamed=True),
    Route("GET", "/orders/product/{productId}", query=_PAGE, scope=Scope.ORDERS_READ),
)

BY_PATTERN: Mapping[tuple[str, str], Route] = MappingProxyType({(route.method, route.path): route for route in ROUTES})


def route_of(request: web.Request) -> Route | None:
    """None for what the gateway answers itself, and for a path or a method that is not known."""
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return BY_PATTERN.get((method, resource.canonical if resource else ""))
