"""Compares pages of orders among a thousand orders and among a million.

Two order services of the same code, each with a database of its own, are asked for the same pages in turn, so that
other load on the machine affects both alike.
"""

import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp

from ops.databases import session
from shared.pagination import encode_cursor
from tools.bench.measurement import Report
from tools.stack import ports
from tools.stack.errors import StackError
from tools.stack.servers import Servers
from tools.stack.services import NAMES, Service, environments, migrate

LIMIT = aiohttp.ClientTimeout(total=10)
# Few enough that the orders of one product among a thousand fill its pages.
PRODUCTS = 5

# The same mix at each size: a hundredth is pending, a twentieth rejected, and each product has its share. Every tenth
# order has two lines.
FILL = """
WITH placed AS (
    INSERT INTO orders (product_id, quantity, unit_price, total_price, lines, status, reason, trace_id)
    SELECT CASE WHEN n % 10 <> 7 THEN 1 + n % $2 END, CASE WHEN n % 10 <> 7 THEN 1 END,
           CASE WHEN n % 10 <> 7 THEN 19.90 END, 19.90,
           CASE WHEN n % 10 = 7 THEN json_build_array(
               json_build_object('productId', 1 + n % $2, 'quantity', 1, 'unitPrice', '19.90'),
               json_build_object('productId', 1 + (n + 1) % $2, 'quantity', 1, 'unitPrice', '19.90')
           ) END,
           CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 20 = 1 THEN 'rejected' ELSE 'done' END,
           CASE WHEN n % 20 = 1 AND n % 100 <> 0 THEN 'insufficient_stock' END,
           md5(n::text)
    FROM generate_series(1, $1::integer) AS n
    RETURNING id, lines, status
)
INSERT INTO order_products (order_id, product_id, status)
SELECT id, (line ->> 'productId')::bigint, status FROM placed, json_array_elements(lines) AS line
"""


async def measure(few: int, many: int, requests: int) -> Report:
    """Returns the table of median milliseconds."""
    lines = [f"median ms of {requests} requests\n", f"{'page of 50':<32}{few:>12,}{many:>12,}  ratio"]
    async with (
        Servers(Path(tempfile.mkdtemp()), durable=False) as servers,
        _order_service(servers, "few", few) as small,
        _order_service(servers, "many", many) as large,
        aiohttp.ClientSession(timeout=LIMIT) as session,
    ):
        for (page, of_few), (_, of_many) in zip(_pages(few), _pages(many), strict=True):
            urls = (f"{small}{of_few}", f"{large}{of_many}")
            times = [[await _get(session, url) for url in urls] for _ in range(requests)]
            among_few, among_many = map(statistics.median, zip(*times, strict=True))
            lines.append(f"{page:<32}{among_few:12.2f}{among_many:12.2f}  {among_many / among_few:5.2f}")
    return lines, True


def _pages(orders: int) -> list[tuple[str, str]]:
    """Names and paths of each way to list, at the newest and in the middle."""
    middle = encode_cursor(orders // 2)
    return [
        ("newest", "/orders"),
        ("in the middle", f"/orders?cursor={middle}"),
        ("of a status", "/orders?status=done"),
        ("of a status, in the middle", f"/orders?status=done&cursor={middle}"),
        ("of a product", "/orders?productId=3"),
        ("of a product, in the middle", f"/orders?productId=3&cursor={encode_cursor(orders * 55 // 100)}"),
        ("of a product and a status", "/orders?productId=3&status=done"),
    ]


async def _get(session: aiohttp.ClientSession, url: str) -> float:
    """Returns the milliseconds until the page is read; raises StackError if it is refused or empty."""
    started = time.perf_counter()
    async with session.get(url) as response:
        content = await response.json()
    milliseconds = (time.perf_counter() - started) * 1e3
    if response.status != HTTPStatus.OK or not content["data"]:
        raise StackError(f"{url} answered {response.status} with {len(content['data'] or ())} orders")
    return milliseconds


@asynccontextmanager
async def _order_service(servers: Servers, name: str, orders: int) -> AsyncIterator[str]:
    """Yields the URL of a service whose database holds so many orders."""
    password = secrets.token_hex(16)
    owner_url = await servers.postgres.create_database(name, f"{name}_owner", password)
    database_url = servers.postgres.database_url(f"{name}_orders", password, name)
    await migrate("orders", owner_url, database_url)
    async with session(owner_url, name) as database:
        await database.fetch(FILL, orders, PRODUCTS)
        await database.fetch("VACUUM ANALYZE orders, order_products")
    environment = environments(servers, {"products": "", "orders": ""}, ports.choose_each(NAMES))["orders"]
    # The pending orders stay pending.
    own = {"DATABASE_URL": database_url, "STUCK_ORDER_SECONDS": "86400"}
    with tempfile.TemporaryDirectory() as folder:
        service = Service("orders", environment | own, Path(folder), tied=True)
        try:
            await service.start()
            yield service.url
        finally:
            await service.stop()
