"""Parse, one call, envelope."""

import orjson
from aiohttp import web

from products.service import Catalogue
from shared.contracts.requests import CreateProduct, NoQuery, PageQuery
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

CATALOGUE = web.AppKey("catalogue", Catalogue)

_CREATE = CreateProduct()
_PAGE = PageQuery()
_NO_QUERY = NoQuery()


async def create_product(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    product = await request.app[CATALOGUE].create(**await read_json(request, _CREATE))
    return answer(request, product.as_json(), status=201, headers={"Location": f"/products/{product.id}"})


async def get_product(request: web.Request) -> web.Response:
    read_query(request, _NO_QUERY)
    product = await request.app[CATALOGUE].get(read_path(request)["id"])
    return answer(request, orjson.Fragment(product))


async def list_products(request: web.Request) -> web.Response:
    products, page = await request.app[CATALOGUE].page(**read_query(request, _PAGE))
    return answer(request, [product.as_json() for product in products], page=page)
