"""The route table: what is let in, what is checked, which service answers, and what `/openapi.json` says about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from aiohttp import web
from marshmallow import Schema

from gateway import responses
from gateway.responses import Envelope
from gateway.scopes import Scope
from shared.contracts import requests
from shared.errors import Code
from shared.web.headers import read_idempotency_key, read_if_match, read_if_none_match, read_last_event_id

_NO_QUERY = requests.NoQuery()
_PAGE = requests.PageQuery()

# Raises AppError for a header that the service would refuse.
ReadHeader = Callable[[web.Request], object]


@dataclass(frozen=True, slots=True)
class Route:
    """A request that is forwarded to the service that its path begins with; every parameter of the path is an id.

    `id` names the operation in `/openapi.json` and stays when the path changes. `answer` and `status` are those of a
    success; `refusals` are the codes that do not follow from the other fields (`tools.openapi.document`). A
    `streamed` answer is passed on as it comes and holds the data of `answer`, one event for each item. `body` is the
    schema of the JSON body, None if there is no body. `scope` is what an API key needs, None if the route is public.
    """

    method: Literal["GET", "POST", "PATCH"]
    path: str
    id: str
    summary: str
    answer: Envelope
    status: int = 200
    description: str = ""
    refusals: tuple[Code, ...] = ()
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
        "createProduct",
        "Add a product with its first stock",
        responses.ProductAnswer(),
        status=201,
        body=requests.CreateProduct(),
        headers=(read_idempotency_key,),
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "GET",
        "/products",
        "listProducts",
        "List products, newest first, or those with certain ids",
        responses.ProductsPage(),
        query=requests.ProductsQuery(),
    ),
    Route("GET", "/products/{id}", "getProduct", "Show a product", responses.ProductAnswer()),
    Route(
        "PATCH",
        "/products/{id}",
        "changeProduct",
        "Change a product's name or price",
        responses.ProductAnswer(),
        description="Send the ETag of an earlier answer in `If-Match`, and the change is refused if another client "
        "has changed the product since. An order keeps the price at which it was placed.",
        body=requests.ChangeProduct(),
        headers=(read_if_match, read_idempotency_key),
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "POST",
        "/products/{id}/stock",
        "adjustStock",
        "Add stock or take it away",
        responses.ProductAnswer(),
        description="The change is refused (409) if the stock would leave the range from 0 to 2147483647; the details "
        "then show the present stock.",
        body=requests.AdjustStock(),
        headers=(read_idempotency_key,),
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "GET",
        "/products/{id}/movements",
        "listMovements",
        "List the changes of a product's stock, newest first",
        responses.MovementsPage(),
        query=_PAGE,
        scope=Scope.CATALOG_WRITE,
    ),
    Route(
        "POST",
        "/orders",
        "createOrder",
        "Order one or several products",
        responses.OrderAnswer(),
        description="The body names one product, or up to 100 in `lines`, each once. The order is `pending` until the "
        "product service has decided: `done`, or `rejected` with a reason and, in `shortages`, what there was too "
        "little of; it gets all of its lines or none. With `holdSeconds` it is `held` instead of `done`, until it is "
        "confirmed or expires. Wait for the decision with `GET /orders/{id}?wait=` or watch "
        "`GET /orders/{id}/events`. If another order has the `reference`, the order is refused (409 "
        "`duplicate_reference`), and the details name the other. With a `unitPrice`, the price that the customer has "
        "seen, it is refused too if the price is another one now (409 `price_changed`); the details then show the "
        "price of each such line. Where several lines and holds are not turned on, they are refused (409 "
        "`conflict`).",
        status=201,
        refusals=(Code.NOT_FOUND, Code.CONFLICT, Code.DUPLICATE_REFERENCE, Code.PRICE_CHANGED),
        body=requests.CreateOrder(),
        headers=(read_idempotency_key,),
        scope=Scope.ORDERS_WRITE,
    ),
    Route(
        "GET",
        "/orders",
        "listOrders",
        "List orders, newest first",
        responses.OrdersPage(),
        description="`productId` selects the orders that have the product in one of their lines. `status` and "
        "`productId` may be given together, `customerId` and `reference` only by themselves.",
        query=requests.OrdersQuery(),
        scope=Scope.ORDERS_READ,
    ),
    Route(
        "GET",
        "/orders/{id}",
        "getOrder",
        "Show an order, or wait until it is decided",
        responses.OrderAnswer(),
        description="With `wait` an order that is `pending` is answered once it has another status, `held` included. "
        "With the ETag of an earlier answer in `If-None-Match` the answer is 304 while the order is the same.",
        query=requests.OrderQuery(),
        headers=(read_if_none_match,),
        scope=Scope.ORDERS_READ,
    ),
    Route(
        "PATCH",
        "/orders/{id}",
        "changeOrder",
        "Change an order's metadata",
        responses.OrderAnswer(),
        description="The new metadata takes the place of all that the order had, whatever its status. `updatedAt` "
        "stays. Of two changes at once the later one counts; an `Idempotency-Key` is refused (400), since a repeat "
        "would count as the later one whatever its key.",
        body=requests.ChangeOrder(),
        scope=Scope.ORDERS_WRITE,
    ),
    Route(
        "POST",
        "/orders/{id}/confirm",
        "confirmOrder",
        "Confirm a held order",
        responses.OrderAnswer(),
        description="The `held` order becomes `done`, and a cancellation alone takes that back. To confirm it again "
        "changes nothing. After the end of its hold it is refused (409 `expired`); so is what has no hold or another "
        "status (409 `conflict`). An order that is still `pending` can be confirmed once it is held: it is refused "
        "with `Retry-After`.",
        refusals=(Code.CONFLICT, Code.EXPIRED),
        scope=Scope.ORDERS_WRITE,
    ),
    Route(
        "POST",
        "/orders/{id}/hold",
        "holdOrder",
        "Set a new end of an order's hold",
        responses.OrderAnswer(),
        description="The seconds count from now, and may end the hold sooner or later than before. It ends at most "
        "seven days after the order was placed (400). An order that is not `held` is refused as by `confirm`.",
        refusals=(Code.CONFLICT, Code.EXPIRED),
        body=requests.HoldOrder(),
        scope=Scope.ORDERS_WRITE,
    ),
    Route(
        "POST",
        "/orders/{id}/cancel",
        "cancelOrder",
        "Cancel an order",
        responses.OrderAnswer(),
        description="A `pending`, `held` or `done` order becomes `cancelled`, and its stock is returned. To cancel it "
        "again changes nothing; a `rejected` or `expired` order cannot be cancelled (409).",
        refusals=(Code.CONFLICT, Code.EXPIRED),
        scope=Scope.ORDERS_WRITE,
    ),
    Route(
        "GET",
        "/orders/{id}/history",
        "getOrderHistory",
        "Show each status that an order has had, oldest first",
        responses.HistoryAnswer(),
        scope=Scope.ORDERS_READ,
    ),
    Route(
        "GET",
        "/orders/{id}/events",
        "watchOrder",
        "Watch an order until it is final",
        responses.HistoryAnswer(),
        description="Server-sent events: one event `status` for each entry of the history. Its id is the position of "
        "the entry, its data is the entry. The stream ends when the order is final, that is neither `pending` nor "
        "`held`. A client that "
        "reconnects with `Last-Event-ID` gets the events that it has missed, or 204 if it has missed none and no more "
        "will come.",
        headers=(read_last_event_id,),
        scope=Scope.ORDERS_READ,
        streamed=True,
    ),
    Route(
        "GET",
        "/orders/product/{productId}",
        "listOrdersOfProduct",
        "List the orders of a product, newest first",
        responses.OrdersPage(),
        description="Those that have the product in one of their lines.",
        query=_PAGE,
        scope=Scope.ORDERS_READ,
    ),
)

BY_PATTERN: Mapping[tuple[str, str], Route] = MappingProxyType({(route.method, route.path): route for route in ROUTES})


def route_of(request: web.Request) -> Route | None:
    """None for what the gateway answers itself, and for a path or a method that is not known."""
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return BY_PATTERN.get((method, resource.canonical if resource else ""))
