"""What `/openapi.json` says of each route beside what the gateway checks: its names, its answer, its refusals."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.errors import Code
from tools.documents.openapi import responses


@dataclass(frozen=True, slots=True)
class Operation:
    """`id` stays when the path changes; `answer` and `status` are those of a success.

    `refusals` are the codes that do not follow from the route (`document`). A streamed answer holds the data of
    `answer`, one event for each item.
    """

    id: str
    summary: str
    answer: responses.Envelope
    status: int = 200
    description: str = ""
    refusals: tuple[Code, ...] = ()


_OPERATIONS = {
    "POST /products": Operation(
        "createProduct", "Add a product with its first stock", responses.ProductAnswer(), status=201
    ),
    "GET /products": Operation(
        "listProducts", "List products, newest first, or those with certain ids", responses.ProductsPage()
    ),
    "GET /products/{id}": Operation("getProduct", "Show a product", responses.ProductAnswer()),
    "PATCH /products/{id}": Operation(
        "changeProduct",
        "Change a product's name or price",
        responses.ProductAnswer(),
        description="Send the ETag of an earlier answer in `If-Match`, and the change is refused if another client "
        "has changed the product since. An order keeps the price at which it was placed.",
    ),
    "POST /products/{id}/stock": Operation(
        "adjustStock",
        "Add stock or take it away",
        responses.ProductAnswer(),
        description="The change is refused (409) if the stock would leave the range from 0 to 2147483647; the details "
        "then show the present stock.",
        refusals=(Code.CONFLICT,),
    ),
    "GET /products/{id}/movements": Operation(
        "listMovements", "List the changes of a product's stock, newest first", responses.MovementsPage()
    ),
    "POST /orders": Operation(
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
    ),
    "GET /orders": Operation(
        "listOrders",
        "List orders, newest first",
        responses.OrdersPage(),
        description="`productId` selects the orders that have the product in one of their lines. `status` and "
        "`productId` may be given together, `customerId` and `reference` only by themselves.",
    ),
    "GET /orders/{id}": Operation(
        "getOrder",
        "Show an order, or wait until it is decided",
        responses.OrderAnswer(),
        description="With `wait` an order that is `pending` is answered once it has another status, `held` included. "
        "With the ETag of an earlier answer in `If-None-Match` the answer is 304 while the order is the same.",
    ),
    "PATCH /orders/{id}": Operation(
        "changeOrder",
        "Change an order's metadata",
        responses.OrderAnswer(),
        description="The new metadata takes the place of all that the order had, whatever its status. `updatedAt` "
        "stays. Of two changes at once the later one counts; an `Idempotency-Key` is refused (400), since a repeat "
        "would count as the later one whatever its key.",
    ),
    "POST /orders/{id}/confirm": Operation(
        "confirmOrder",
        "Confirm a held order",
        responses.OrderAnswer(),
        description="The `held` order becomes `done`, and a cancellation alone takes that back. To confirm it again "
        "changes nothing. After the end of its hold it is refused (409 `expired`); so is what has no hold or another "
        "status (409 `conflict`). An order that is still `pending` can be confirmed once it is held: it is refused "
        "with `Retry-After`.",
        refusals=(Code.CONFLICT, Code.EXPIRED),
    ),
    "POST /orders/{id}/hold": Operation(
        "holdOrder",
        "Set a new end of an order's hold",
        responses.OrderAnswer(),
        description="The seconds count from now, and may end the hold sooner or later than before. It ends at most "
        "seven days after the order was placed (400). An order that is not `held` is refused as by `confirm`.",
        refusals=(Code.CONFLICT, Code.EXPIRED),
    ),
    "POST /orders/{id}/cancel": Operation(
        "cancelOrder",
        "Cancel an order",
        responses.OrderAnswer(),
        description="A `pending`, `held` or `done` order becomes `cancelled`, and its stock is returned. To cancel it "
        "again changes nothing; a `rejected` or `expired` order cannot be cancelled (409).",
        refusals=(Code.CONFLICT, Code.EXPIRED),
    ),
    "GET /orders/{id}/history": Operation(
        "getOrderHistory", "Show each status that an order has had, oldest first", responses.HistoryAnswer()
    ),
    "GET /orders/{id}/events": Operation(
        "watchOrder",
        "Watch an order until it is final",
        responses.HistoryAnswer(),
        description="Server-sent events: one event `status` for each entry of the history. Its id is the position of "
        "the entry, its data is the entry. The stream ends when the order is final, that is neither `pending` nor "
        "`held`. A client that reconnects with `Last-Event-ID` gets the events that it has missed, or 204 if it has "
        "missed none and no more will come.",
    ),
    "GET /orders/product/{productId}": Operation(
        "listOrdersOfProduct",
        "List the orders of a product, newest first",
        responses.OrdersPage(),
        description="Those that have the product in one of their lines.",
    ),
}
# By the method and the path of the route.
OPERATIONS: Mapping[str, Operation] = MappingProxyType(_OPERATIONS)
