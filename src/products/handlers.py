"""The routes of the product service. Each handler parses, makes one call and writes the envelope."""

from aiohttp import web

from products.service import Catalogue, Written
from products.views import movement_view, product_view
from shared.contracts.requests import AdjustStock, ChangeProduct, CreateProduct, PageQuery, ProductsQuery
from shared.web.headers import REPLAYED, read_if_match, read_key
from shared.web.requests import read_json, read_path, read_query
from shared.web.responses import answer

ROUTES = web.RouteTableDef()
CATALOGUE = web.AppKey("catalogue", Catalogue)

_CREATE = CreateProduct()
_CHANGE = ChangeProduct()
_ADJUST = AdjustStock()
_PAGE = PageQuery()
_PRODUCTS = ProductsQuery()


@ROUTES.post("/products")
async def create_product(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _CREATE)
    created = await request.app[CATALOGUE].create(**content, key=read_key(request, content))
    response = _answer(request, created, status=201)
    response.headers["Location"] = f"/products/{created.product['id']}"
    return response


@ROUTES.get("/products")
async def list_products(request: web.Request) -> web.Response:
    query = read_query(request, _PRODUCTS)
    ids = query.pop("ids")
    products, page = await (request.app[CATALOGUE].selected(ids) if ids else request.app[CATALOGUE].page(**query))
    return answer(request, [product_view(product) for product in products], page=page)


@ROUTES.get("/products/{id}")
async def get_product(request: web.Request) -> web.Response:
    read_query(request)
    return _answer(request, Written(await request.app[CATALOGUE].get(read_path(request)["id"])))


@ROUTES.patch("/products/{id}")
async def change_product(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _CHANGE)
    product_id, versions, key = read_path(request)["id"], read_if_match(request), read_key(request, content)
    return _answer(request, await request.app[CATALOGUE].change(product_id, versions, **content, key=key))


@ROUTES.post("/products/{id}/stock")
async def adjust_stock(request: web.Request) -> web.Response:
    read_query(request)
    content = await read_json(request, _ADJUST)
    key = read_key(request, content)
    return _answer(request, await request.app[CATALOGUE].adjust(read_path(request)["id"], **content, key=key))


@ROUTES.get("/products/{id}/movements")
async def list_movements(request: web.Request) -> web.Response:
    product_id = read_path(request)["id"]
    movements, page = await request.app[CATALOGUE].movements(product_id, **read_query(request, _PAGE))
    return answer(request, [movement_view(movement) for movement in movements], page=page)


def _answer(request: web.Request, written: Written, status: int = 200) -> web.Response:
    headers = {"ETag": f'"{written.product["version"]}"', **(REPLAYED if written.replayed else {})}
    return answer(request, written.product, status=status, headers=headers)
