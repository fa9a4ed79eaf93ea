"""`python -m tools.bench.pages`: what a page of orders costs among a thousand orders and among a million.

Two order services of the same code, each with a database of its own, are asked for the same pages in turn, so that
whatever else the machine does meets both alike.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
import asyncpg

from ops.bounds import whole
from shared.pagination import encode_cursor
from tools.bench import machine
from tools.stack import ports
from tools.stack.errors import StackError
from tools.stack.servers import Servers
from tools.stack.services import NAMES, Service, environments, migrate

STATEMENT_SECONDS = 600.0
LIMIT = aiohttp.ClientTimeout(total=10)
# Few enough that a product's part of a thousand orders fills its pages.
PRODUCTS = 5
MOST = 100_000_000

# The same mix at each size: a hundredth is pending, a twentieth rejected, and each product has its share.
FILL = """
INSERT INTO orders (product_id, quantity, unit_price, total_price, status, reason, trace_id)
SELECT 1 + n % $2, 1, 19.90, 19.90,
       CASE WHEN n % 100 = 0 THEN 'pending' WHEN n % 20 = 1 THEN 'rejected' ELSE 'done' END,
       CASE WHEN n % 20 = 1 AND n % 100 <> 0 THEN 'insufficient_stock' END,
       md5(n::text)
FROM generate_series(1, $1::integer) AS n
"""


@dataclass(frozen=True)
class Measured:
    """Median milliseconds of a page among few and among many orders."""

    page: str
    few: float
    many: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.pages", description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=whole(100, MOST), default=1_000)
    parser.add_argument("--many", type=whole(100, MOST), default=1_000_000)
    parser.add_argument(
        "--requests", type=whole(1, 1_000_000), default=300, help="for each page, of each service (300)"
    )
    options = parser.parse_args(arguments)
    about = machine.now()
    try:
        measured = asyncio.run(measure(options.few, options.many, options.requests))
    except StackError as error:
        sys.stderr.write(f"{error.log}\n\n" * bool(error.log) + f"{error}\n")
        return 1
    sys.stdout.write(f"{about.cores} cores ({about.processor}), Python {about.python}, ")
    sys.stdout.write(f"median ms of {options.requests} requests\n\n")
    sys.stdout.write(f"{'page of 50':<32}{options.few:>12,}{options.many:>12,}  ratio\n")
    for row in measured:
        sys.stdout.write(f"{row.page:<32}{row.few:12.2f}{row.many:12.2f}  {row.many / row.few:5.2f}\n")
    return 0


async def measure(few: int, many: int, requests: int) -> list[Measured]:
    async with (
        Servers(Path(tempfile.mkdtemp()), durable=False) as servers,
        order_service(servers, "few", few) as small,
        order_service(servers, "many", many) as large,
        aiohttp.ClientSession(timeout=LIMIT) as session,
    ):
        both = zip(pages(few).items(), pages(many).values(), strict=True)
        return [
            await compare(session, page, f"{small}{of_few}", f"{large}{of_many}", requests)
            for (page, of_few), of_many in both
        ]


def pages(orders: int) -> dict[str, str]:
    """Each way to list, at the newest and in the middle."""
    middle = encode_cursor(orders // 2)
    return {
        "newest": "/orders",
        "in the middle": f"/orders?cursor={middle}",
        "of a status": "/orders?status=done",
        "of a status, in the middle": f"/orders?status=done&cursor={middle}",
        "of a product": "/orders?productId=3",
        "of a product, in the middle": f"/orders?productId=3&cursor={encode_cursor(orders * 55 // 100)}",
        "of a product and a status": "/orders?productId=3&status=done",
    }


async def compare(session: aiohttp.ClientSession, page: str, few: str, many: str, requests: int) -> Measured:
    taken: Mapping[str, list[float]] = {few: [], many: []}
    for _ in range(requests):
        for url, times in taken.items():
            started = time.perf_counter()
            async with session.get(url) as response:
                content = await response.json()
            times.append((time.perf_counter() - started) * 1e3)
            if response.status != HTTPStatus.OK or not content["data"]:
                raise StackError(f"{url} answered {response.status} with {len(content['data'] or ())} orders")
    return Measured(page, *(statistics.median(times) for times in taken.values()))


@asynccontextmanager
async def order_service(servers: Servers, name: str, orders: int) -> AsyncIterator[str]:
    """Its URL; its database holds so many orders."""
    password = secrets.token_hex(16)
    owner_url = await servers.postgres.create_database(name, f"{name}_owner", password)
    database_url = servers.postgres.database_url(f"{name}_orders", password, name)
    await migrate("orders", owner_url, database_url)
    await fill(owner_url, orders)
    environment = environments(servers, {"products": "", "orders": ""}, ports.choose_each(NAMES))["orders"]
    # Orders are pending on purpose.
    own = {"DATABASE_URL": database_url, "STUCK_ORDER_SECONDS": "86400"}
    with tempfile.TemporaryDirectory() as folder:
        service = Service("orders", environment | own, Path(folder), tied=True)
        try:
            await service.start()
            yield service.url
        finally:
            await service.stop()


async def fill(url: str, orders: int) -> None:
    connection = await asyncpg.connect(url, command_timeout=STATEMENT_SECONDS)
    try:
        await connection.execute(FILL, orders, PRODUCTS)
        await connection.execute("VACUUM ANALYZE orders")
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
