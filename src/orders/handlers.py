"""The routes of the order service. Each handler parses, makes one call and writes the envelope."""

import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from aiohttp import ETag, web

from orders.domain import HistoryEntry, Line, Terms
from orders.service import Orders
from orders.views import entry_view, json_of, order_view
from shared.contracts.fields import lines_of
from shared.contracts.requests import ChangeOrder, CreateOrder, HoldOrder, OrderQuery, OrdersQuery, PageQuery
from shared.errors import AppError
from shared.web import sse
from shared.web.headers import REPLAYED, read_if_none_match, read_key, read_last_event_id
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

log = structlog.get_logger()

ROUTES = web.RouteTableDef()
ORDERS = web.AppKey("orders", Orders)

_CREATE = CreateOrder()
_CHANGE = ChangeOrder()
_HOLD = HoldOrder()
_ORDER_QUERY = OrderQuery()
_ORDERS_QUERY = OrdersQuery()
_PAGE = PageQuery()
_HEARTBEAT_SECONDS = 15.0


@ROUTES.post("/orders")
async def create_order(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _CREATE)
    of_lines = "lines" in content
    lines = [
        Line(**line, field=f"lines.{position}." if of_lines else "") for position, line in enumerate(lines_of(content))
    ]
    terms = Terms(
        content.get("customer_id"),
        content.get("reference"),
        json_of(content.get("metadata")),
        content.get("hold_seconds"),
    )
    placed = await request.app[ORDERS].place(lines, terms, read_key(request, content))
    headers = {"Location": f"/orders/{placed.order.id}", **(REPLAYED if placed.replayed else {})}
    return answer(request, order_view(placed.order), status=201, headers=headers)


@ROUTES.get("/orders")
async def list_orders(request: web.Request) -> web.Response:
    orders, page = await request.app[ORDERS].page(**read_query(request, _ORDERS_QUERY))
    return answer(request, [order_view(order) for order in orders], page=page)


@ROUTES.get("/orders/{id}")
async def get_order(request: web.Request) -> web.Response:
    order_id, wait = read_path(request)["id"], read_query(request, _ORDER_QUERY)["wait"]
    orders = request.app[ORDERS]
    order = await (orders.get_when_decided(order_id, wait) if wait else orders.get(order_id))
    return _answer_if_new(request, order_view(order))


@ROUTES.patch("/orders/{id}")
async def change_order(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _CHANGE)
    order = await request.app[ORDERS].change(read_path(request)["id"], json_of(content["metadata"]))
    return answer(request, order_view(order))


@ROUTES.post("/orders/{id}/cancel")
async def cancel_order(request: web.Request) -> web.Response:
    read_query(request)
    order = await request.app[ORDERS].cancel(read_path(request)["id"])
    return answer(request, order_view(order))


@ROUTES.post("/orders/{id}/confirm")
async def confirm_order(request: web.Request) -> web.Response:
    read_query(request)
    order = await request.app[ORDERS].confirm(read_path(request)["id"])
    return answer(request, order_view(order))


@ROUTES.post("/orders/{id}/hold")
async def hold_order(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _HOLD)
    order = await request.app[ORDERS].hold(read_path(request)["id"], content["hold_seconds"])
    return answer(request, order_view(order))


@ROUTES.get("/orders/{id}/history")
async def list_history(request: web.Request) -> web.Response:
    read_query(request)
    entries = await request.app[ORDERS].history(read_path(request)["id"])
    return answer(request, [entry_view(entry) for entry in entries])


@ROUTES.get("/orders/{id}/events", allow_head=False)
async def stream_history(request: web.Request) -> web.StreamResponse:
    """Answers 204 if no entry can come any more, so that the client does not reconnect."""
    read_query(request)
    order_id, seen = read_path(request)["id"], read_last_event_id(request)
    async with aclosing(request.app[ORDERS].follow(order_id, seen, _HEARTBEAT_SECONDS)) as updates:
        first = await anext(updates, None)
        if first is None:
            return web.Response(status=204)
        response = sse.stream()
        await response.prepare(request)
        try:
            await response.write(_frames(first))
            async for entries in updates:
                await response.write(_frames(entries))
        except (AppError, OSError) as error:  # the client reconnects with the id of the last event that it got
            log.info("stream ended early", order_id=order_id, error=repr(error))
            sse.break_off(request)
        return response


@ROUTES.get("/orders/product/{productId}")
async def list_orders_of_product(request: web.Request) -> web.Response:
    product_id = read_path(request)["product_id"]
    orders, page = await request.app[ORDERS].page_of_product(product_id, **read_query(request, _PAGE))
    return answer(request, orders, page=page)


def _answer_if_new(request: web.Request, view: dict[str, Any]) -> web.Response:
    """304 for a client that has the order as it is (RFC 9110 §13.1.2).

    The tag is weak, because two answers with the same data still have their own trace id and timestamp (§8.8.1).
    """
    tag = hashlib.sha256(orjson.dumps(view, option=orjson.OPT_UTC_Z)).hexdigest()[:32]
    is_known = bool(read_if_none_match(request) & {tag, "*"})
    response = web.Response(status=HTTPStatus.NOT_MODIFIED) if is_known else answer(request, view)
    response.etag = ETag(tag, is_weak=True)
    return response


def _frames(entries: Sequence[tuple[int, HistoryEntry]]) -> bytes:
    """An event for each entry, with its position as the id; if there is none a comment, which finds clients that left.

    It also keeps proxies from closing a quiet stream. JSON has no line breaks.
    """
    frames = [
        b"id: %d\nevent: status\ndata: %s\n\n" % (position, orjson.dumps(entry_view(entry), option=orjson.OPT_UTC_Z))
        for position, entry in entries
    ]
    return b"".join(frames) or b":\n\n"
