"""A database goes back to an older backup while the shop goes on: nothing is oversold, and repair makes it add up."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.api import Api, connect
from tests.broker import Vhost
from tests.databases import Databases, as_operator
from tests.e2e.ordering import STOCK, ordering
from tests.e2e.programs import Outcome, run
from tests.e2e.system import System
from tests.waiting import eventually, reaches
from tools.stack.servers import Servers

pytestmark = pytest.mark.timeout(120)


class Shop:
    """A system of its own, with its clients and its operator."""

    def __init__(self, system: System, api: Api, vhost: Vhost, databases: Databases, folder: Path) -> None:
        self.system = system
        self.api = api
        self.vhost = vhost
        self._databases = databases
        self._folder = folder
        self._urls = {name: system.environments[name]["DATABASE_URL"] for name in ("products", "orders")}

    async def product(self, qty: int) -> int:
        return int((await self.api.post("/products", {"name": "Lamp", "price": "1.00", "qty": qty})).data["id"])

    async def order(self, product_id: int, count: int) -> list[int]:
        """Places orders of one piece, one after the other."""
        placed = [await self.api.post("/orders", {"productId": product_id, "quantity": 1}) for _ in range(count)]
        return [answer.data["id"] for answer in placed]

    async def hold(self, *product_ids: int) -> int:
        """Places an order of a piece of each, which is held for longer than the test runs."""
        lines = [{"productId": product_id, "quantity": 1} for product_id in product_ids]
        return int((await self.api.post("/orders", {"lines": lines, "holdSeconds": 600})).data["id"])

    async def statuses(self, order_ids: list[int]) -> Counter[str]:
        return Counter([(await self.api.data(f"/orders/{order_id}"))["status"] for order_id in order_ids])

    async def cancel(self, order_id: int) -> None:
        await self.api.request("POST", f"/orders/{order_id}/cancel")

    async def end_hold(self, order_id: int) -> None:
        await self.system.orders("UPDATE orders SET expires_at = now() WHERE id = $1", order_id)

    async def stock(self, product_id: int) -> int:
        qty, _ = await self.stock_and_held(product_id)
        return qty

    async def stock_and_held(self, product_id: int) -> tuple[int, int]:
        [(qty, held)] = await self.system.products("SELECT qty, held FROM products WHERE id = $1", product_id)
        return qty, held

    async def is_quiet(self) -> bool:
        """Whether no event waits in a queue or an outbox; a few may be in the hands of a consumer."""
        depths = [await self.vhost.depth(queue) for queue in ("products.orders", "orders.stock")]
        waiting = [await query("SELECT FROM outbox") for query in (self.system.products, self.system.orders)]
        return not any((*depths, *waiting))

    async def backup(self, name: str) -> None:
        await self._databases.dump(self._urls[name], self._folder / name)

    async def restore(self, name: str) -> None:
        await self._databases.restore(self._urls[name], self._folder / name)
        await self.system.start()  # returns when the services have found it again

    async def ops(self, *command: str) -> Outcome:
        urls = {f"{name.upper()}_DATABASE_URL": as_operator(url) for name, url in self._urls.items()}
        return await run("ops", *command, environment={**urls, "AMQP_URL": self.vhost.users["operator"]})

    async def adds_up(self) -> bool:
        return (await self.ops("reconcile", "--older-than", "0", "--settle", "0")).status == 0

    async def repair(self) -> tuple[int | None, Counter[str]]:
        """The exit status, and how often it did or listed what."""
        ended = await self.ops("repair", "--older-than", "0", "--settle", "0", "--apply", "--json")
        assert ended.stderr == ""
        document: dict[str, Any] = json.loads(ended.stdout)
        return ended.status, Counter(action["step"] for action in document["actions"])


@pytest.fixture
async def shop(servers: Servers, databases: Databases, vhost: Vhost, tmp_path: Path) -> AsyncIterator[Shop]:
    changes = {}
    users = await vhost.give_users()
    async with databases.fresh("products") as products_url, databases.fresh("orders") as orders_url:
        for name, url, redis in (
            ("products", products_url, servers.products_redis),
            ("orders", orders_url, servers.orders_redis),
        ):
            cache = redis.url.removesuffix("/0") + "/2"
            async with Redis.from_url(cache) as client:
                await client.flushdb()
            changes[name] = {"DATABASE_URL": url, "REDIS_URL": cache, "AMQP_URL": users[name]}
        system = System(servers, tmp_path, changes)
        try:
            await system.start()
            async with connect(system.url) as api:
                yield Shop(system, api, vhost, databases, tmp_path)
        finally:
            await system.stop()


async def test_orders_that_get_the_numbers_of_lost_ones_wait_for_repair_and_then_get_stock_of_their_own(
    shop: Shop,
) -> None:
    lamp = await shop.product(16)
    kept = await shop.order(lamp, 5)
    await reaches(lambda: shop.statuses(kept), Counter(done=5))
    await shop.backup("orders")
    lost = await shop.order(lamp, 10)
    await shop.cancel(kept[0])
    await reaches(lambda: shop.stock(lamp), 2)

    await shop.restore("orders")
    placed = await shop.order(lamp, 12)

    # Ten numbers were given out twice. These orders get nothing, and not silently; two pieces are left for the others.
    assert placed[:10] == lost
    await reaches(lambda: shop.vhost.depth("products.orders.dead"), 10)
    await reaches(lambda: shop.statuses(placed), Counter(pending=10, done=2))

    assert await shop.repair() == (0, Counter(move=10, announce=10, cancel=1))
    await reaches(lambda: shop.statuses(placed), Counter(done=12))
    assert await shop.statuses(kept) == Counter(done=4, cancelled=1)
    assert await shop.stock(lamp) == 16 - 12 - 4
    assert (await shop.ops("dead-letters", "replay", "--all")).stdout == "10 replayed\n"
    await eventually(shop.is_quiet)
    assert [await shop.vhost.depth(f"{queue}.dead") for queue in ("products.orders", "orders.stock")] == [0, 0]
    await eventually(shop.adds_up)
    assert await shop.repair() == (0, Counter())


async def test_orders_that_lost_their_reservations_get_them_again_and_those_of_lost_products_are_named(
    shop: Shop,
) -> None:
    lamp = await shop.product(20)
    first = await shop.order(lamp, 5)
    await reaches(lambda: shop.statuses(first), Counter(done=5))
    await shop.backup("products")
    lost = [await shop.product(9) for _ in range(2)]
    first += await shop.order(lamp, 5)
    of_lost = [order_id for product_id in lost for order_id in await shop.order(product_id, 1)]
    await shop.cancel(first[0])
    await reaches(lambda: shop.stock(lamp), 11)
    await reaches(lambda: shop.statuses(of_lost), Counter(done=2))

    await shop.restore("products")
    assert await shop.stock(lamp) == 15
    successor = await shop.product(9)
    assert successor == lost[0]
    placed = await shop.order(lamp, 3) + await shop.order(successor, 1)
    await reaches(lambda: shop.statuses(placed), Counter(done=4))

    assert await shop.repair() == (1, Counter(numbers=1, release=1, reserve=5, oversold=2))
    assert (await shop.stock(lamp), await shop.stock(successor)) == (20 - 3 - 9, 9 - 1)
    assert await shop.product(9) > max(lost)
    for order_id in of_lost:
        await shop.cancel(order_id)
    await eventually(shop.adds_up)
    assert await shop.repair() == (0, Counter())


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("orders", {"confirm": 1, "release": 2, "numbers": 1}, (18, 1)),
        ("products", {"confirm": 1, "reserve": 2}, (17, 2)),
    ],
)
async def test_a_confirmed_order_of_several_products_stays_confirmed_and_a_held_one_held(
    shop: Shop, name: str, steps: dict[str, int], expected: tuple[int, int]
) -> None:
    products = [await shop.product(20) for _ in range(2)]
    confirmed, held = [await shop.hold(*products) for _ in range(2)]
    await reaches(lambda: shop.statuses([confirmed, held]), Counter(held=2))
    await shop.backup(name)
    assert (await shop.api.request("POST", f"/orders/{confirmed}/confirm")).status == 200
    later = await shop.hold(*products)
    await reaches(lambda: shop.statuses([later]), Counter(held=1))
    await reaches(lambda: shop.stock_and_held(products[1]), (17, 2))

    await shop.restore(name)
    if name == "orders":  # by the time of the repair the hold is over, and the order service has let the order expire
        await shop.end_hold(confirmed)
        await reaches(lambda: shop.vhost.depth("products.orders.dead"), 1)

    assert await shop.repair() == (0, Counter(steps))
    assert [await shop.stock_and_held(product_id) for product_id in products] == [expected] * 2
    assert await shop.statuses([confirmed, held]) == Counter(done=1, held=1)
    await eventually(shop.adds_up)
    assert await shop.repair() == (0, Counter())


@pytest.mark.parametrize("name", ["orders", "products"])
async def test_a_restore_and_its_repair_while_clients_go_on_ordering_lose_nothing_that_came_after(
    shop: Shop, name: str
) -> None:
    system = shop.system
    async with ordering(shop.api) as load:
        await load.accepts(30)
        await shop.backup(name)
        await load.accepts(30)
        await shop.restore(name)
        before = set(load.accepted)
        await load.accepts(30)
        await shop.repair()
        await load.accepts(30)
        _, meanwhile = await shop.repair()
    await eventually(shop.is_quiet)
    status, actions = await shop.repair()  # of what was on its way at the restore
    await eventually(shop.is_quiet)

    assert meanwhile["numbers"] == 0  # what is given out just now is not what was given out too often
    assert (status, actions["oversold"], actions["left"]) == (0, 0, 0)
    await eventually(lambda: system.all_are_final(load.product_id))
    found = await system.orders("SELECT trace_id, status FROM orders WHERE product_id = $1", load.product_id)
    assert {status for _, status in found} == {"done"}
    assert set(load.accepted) - before <= {trace_id for trace_id, _ in found}
    assert await shop.stock(load.product_id) == STOCK - len(found)
    await eventually(shop.adds_up)
    assert await shop.repair() == (0, Counter())
