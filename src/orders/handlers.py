"""Parse, one call, envelope."""

import orjson
from aiohttp import web

from orders.service import Orders
from shared.contracts.requests import CreateOrder, NoQuery, OrdersQuery, PageQuery
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

ORDERS = web.AppKey("orders", Orders)

_CREATE = CreateOrder()
_ORDERS_QUERY = OrdersQuery()
_PAGE = PageQuery()
_NO_QUERY = NoQuery()


async def create_order(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    order = await request.app[ORDERS].place(**await read_json(request, _CREATE))
    return answer(request, order.as_json(), status=201, headers={"Location": f"/orders/{order.id}"})


async def get_order(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    order = await request.app[ORDERS].get(read_path(request)["id"])
    return answer(request, order.as_json())


async def list_orders(request: web.Request) -> web.Response:
    orders, page = await request.app[ORDERS].page(**read_query(request, _ORDERS_QUERY))
    return answer(request, [order.as_json() for order in orders], page=page)


async def list_orders_of_product(request: web.Request) -> web.Response:
    product_id = read_path(request)["product_id"]
    orders, page = await request.app[ORDERS].page_of_product(product_id, **read_query(request, _PAGE))
    return answer(request, orjson.Fragment(orders), page=page)
