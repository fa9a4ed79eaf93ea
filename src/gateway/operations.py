"""What a client is told of each route, beside what its schemas say."""

from dataclasses import dataclass
from typing import Literal

from gateway.openapi.responses import (
    Envelope,
    HistoryAnswer,
    MovementsPage,
    OrderAnswer,
    OrdersPage,
    ProductAnswer,
    ProductsPage,
)
from shared.errors import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`id` stays when the path changes; `refusals` are those that do not follow from the route (`gateway.openapi`)."""

    id: str
    summary: str
    answer: Envelope
    status: Literal[200, 201] = 200
    description: str = ""
    refusals: tuple[Code, ...] = ()


CREATE_PRODUCT = Operation(
    id="createProduct",
    summary="Add a product with its first stock",
    answer=ProductAnswer(),
    status=201,
)
LIST_PRODUCTS = Operation(id="listProducts", summary="List products, newest first", answer=ProductsPage())
GET_PRODUCT = Operation(id="getProduct", summary="Show a product", answer=ProductAnswer(), refusals=(Code.NOT_FOUND,))
CHANGE_PRODUCT = Operation(
    id="changeProduct",
    summary="Change a product's name or price",
    description="With the ETag of an earlier answer in `If-Match`, nobody else's change is overwritten unseen. "
    "Orders keep the price that they were placed at.",
    answer=ProductAnswer(),
    refusals=(Code.NOT_FOUND,),
)
ADJUST_STOCK = Operation(
    id="adjustStock",
    summary="Add stock or take it away",
    description="409 if the stock would leave 0 to 2147483647; the details tell the stock as it is.",
    answer=ProductAnswer(),
    refusals=(Code.NOT_FOUND, Code.CONFLICT),
)
LIST_MOVEMENTS = Operation(
    id="listMovements",
    summary="List the changes of a product's stock, newest first",
    answer=MovementsPage(),
    refusals=(Code.NOT_FOUND,),
)
CREATE_ORDER = Operation(
    id="createOrder",
    summary="Order a product",
    description="The order is `pending` until the product service has decided: `done`, or `rejected` with a reason. "
    "Wait for that with `GET /orders/{id}?wait=` or watch `GET /orders/{id}/events`.",
    answer=OrderAnswer(),
    status=201,
    refusals=(Code.NOT_FOUND,),
)
LIST_ORDERS = Operation(id="listOrders", summary="List orders, newest first", answer=OrdersPage())
GET_ORDER = Operation(
    id="getOrder",
    summary="Show an order, or wait until it is final",
    answer=OrderAnswer(),
    refusals=(Code.NOT_FOUND,),
)
CANCEL_ORDER = Operation(
    id="cancelOrder",
    summary="Cancel an order",
    description="A `pending` or `done` order becomes `cancelled`, and its stock comes back. Cancelling it again "
    "changes nothing; a `rejected` order cannot be cancelled (409).",
    answer=OrderAnswer(),
    refusals=(Code.NOT_FOUND, Code.CONFLICT),
)
GET_HISTORY = Operation(
    id="getOrderHistory",
    summary="Show each status that an order has had, oldest first",
    answer=HistoryAnswer(),
    refusals=(Code.NOT_FOUND,),
)
WATCH_ORDER = Operation(
    id="watchOrder",
    summary="Watch an order until it is final",
    description="Server-sent events: one named `status` for each entry of the history, its position as the id, the "
    "entry as the data. The stream ends when the order is no longer pending. A client that comes back with "
    "`Last-Event-ID` gets what it has missed, or 204 if that is nothing and nothing more will come.",
    answer=HistoryAnswer(),
    refusals=(Code.NOT_FOUND,),
)
LIST_ORDERS_OF_PRODUCT = Operation(
    id="listOrdersOfProduct", summary="List the orders of a product, newest first", answer=OrdersPage()
)
