"""Parse, one call, envelope."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from products.service import Catalogue, Written
from shared.contracts.requests import AdjustStock, ChangeProduct, CreateProduct, NoQuery, PageQuery
from shared.web.headers import REPLAYED, entity_tag, read_if_match, read_key
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

CATALOGUE = web.AppKey("catalogue", Catalogue)

_CREATE = CreateProduct()
_CHANGE = ChangeProduct()
_ADJUST = AdjustStock()
_PAGE = PageQuery()
_NO_QUERY = NoQuery()


async def create_product(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    content = await read_json(request, _CREATE)
    written = await request.app[CATALOGUE].create(**content, key=read_key(request, content))
    product_id = orjson.loads(written.content)["id"]
    return _product(request, written, status=201, headers={"Location": f"/products/{product_id}"})


async def change_product(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    content = await read_json(request, _CHANGE)
    written = await request.app[CATALOGUE].change(read_path(request)["id"], read_if_match(request), **content)
    return _product(request, written)


async def adjust_stock(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    content = await read_json(request, _ADJUST)
    key = read_key(request, content)
    return _product(request, await request.app[CATALOGUE].adjust(read_path(request)["id"], **content, key=key))


async def get_product(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    return _product(request, Written(await request.app[CATALOGUE].get(read_path(request)["id"])))


async def list_products(request: web.Request) -> web.Response:
    products, page = await request.app[CATALOGUE].page(**read_query(request, _PAGE))
    return answer(request, [product.as_json() for product in products], page=page)


async def list_movements(request: web.Request) -> web.Response:
    product_id = read_path(request)["id"]
    movements, page = await request.app[CATALOGUE].movements(product_id, **read_query(request, _PAGE))
    return answer(request, [movement.as_json() for movement in movements], page=page)


def _product(
    request: web.Request, written: Written, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    product: dict[str, Any] = orjson.loads(written.content)
    tags = {"ETag": entity_tag(product["version"]), **(REPLAYED if written.replayed else {}), **(headers or {})}
    return answer(request, orjson.Fragment(written.content), status=status, headers=tags)
