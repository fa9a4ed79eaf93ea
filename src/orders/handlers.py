"""Parse, one call, envelope."""

from collections.abc import Sequence
from contextlib import aclosing

import orjson
import structlog
from aiohttp import web

from orders.domain import Entry, is_final
from orders.service import Orders
from shared.contracts.requests import CreateOrder, NoQuery, OrderQuery, OrdersQuery, PageQuery
from shared.errors import AppError
from shared.web import sse
from shared.web.headers import REPLAYED, read_key, read_last_event_id
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

log = structlog.get_logger()

ORDERS = web.AppKey("orders", Orders)

_CREATE = CreateOrder()
_ORDER_QUERY = OrderQuery()
_ORDERS_QUERY = OrdersQuery()
_PAGE = PageQuery()
_NO_QUERY = NoQuery()
_HEARTBEAT = 15.0


async def create_order(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    content = await read_json(request, _CREATE)
    placed = await request.app[ORDERS].place(**content, key=read_key(request, content))
    headers = {"Location": f"/orders/{placed.order.id}", **(REPLAYED if placed.replayed else {})}
    return answer(request, placed.order.as_json(), status=201, headers=headers)


async def cancel_order(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    order = await request.app[ORDERS].cancel(read_path(request)["id"])
    return answer(request, order.as_json())


async def get_order(request: web.Request) -> web.Response:
    order_id, wait = read_path(request)["id"], read_query(request, _ORDER_QUERY)["wait"]
    orders = request.app[ORDERS]
    order = await (orders.get_when_final(order_id, wait) if wait else orders.get(order_id))
    return answer(request, order.as_json())


async def list_history(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    entries = await request.app[ORDERS].history(read_path(request)["id"])
    return answer(request, [entry.as_json() for entry in entries])


async def stream_history(request: web.Request) -> web.StreamResponse:
    """Each entry of the history as an event with its position as the id; 204 tells a client to come no more."""
    read_query(request, _NO_QUERY)
    order_id, sent = read_path(request)["id"], read_last_event_id(request)
    async with aclosing(request.app[ORDERS].follow(order_id, _HEARTBEAT)) as histories:
        entries = await anext(histories)
        if is_final(entries) and sent >= len(entries):
            return web.Response(status=204)
        response = sse.stream()
        await response.prepare(request)
        try:
            await response.write(_frames(entries, sent) or sse.HEARTBEAT)
            async for later in histories:
                sent, entries = max(sent, len(entries)), later
                await response.write(_frames(entries, sent) or sse.HEARTBEAT)
        except (AppError, OSError) as error:
            # The client has gone, or the database has: it comes back with the id of the last event that it got.
            log.info("stream ended early", order_id=order_id, error=repr(error))
        return response


def _frames(entries: Sequence[Entry], sent: int) -> bytes:
    return b"".join(
        sse.frame(position, "status", orjson.dumps(entry.as_json(), option=orjson.OPT_UTC_Z))
        for position, entry in enumerate(entries[sent:], sent + 1)
    )


async def list_orders(request: web.Request) -> web.Response:
    orders, page = await request.app[ORDERS].page(**read_query(request, _ORDERS_QUERY))
    return answer(request, [order.as_json() for order in orders], page=page)


async def list_orders_of_product(request: web.Request) -> web.Response:
    product_id = read_path(request)["product_id"]
    orders, page = await request.app[ORDERS].page_of_product(product_id, **read_query(request, _PAGE))
    return answer(request, orjson.Fragment(orders), page=page)
