"""Orders of several products, from many clients at once, by two replicas of each service."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, connect
from tests.e2e.system import System
from tests.waiting import reaches
from tools.stack.servers import Servers

CLIENTS, ORDERS, PRODUCTS, STOCK = 50, 6, 10, 100
TOTALS = """
SELECT id, qty::int, held::int,
       (SELECT sum(delta) FROM stock_movements WHERE product_id = p.id)::int,
       coalesce((SELECT sum(quantity) FROM reservations WHERE product_id = p.id AND held), 0)::int
FROM products AS p WHERE id = ANY ($1::bigint[])
"""
RESERVATIONS = """
SELECT order_id, outcome, held, array_agg(product_id || ' ' || quantity ORDER BY line)
FROM reservations WHERE order_id = ANY ($1::bigint[]) GROUP BY order_id, outcome, held
"""
MOVEMENTS = "SELECT product_id, sum(-delta)::int FROM stock_movements WHERE order_id = $1 GROUP BY product_id"
# What products knows of an order of each status: the outcome and whether it is held.
KNOWN = {
    "done": ("reserved", False),
    "held": ("reserved", True),
    "rejected": ("rejected", False),
    "cancelled": ("released", False),
}


async def order(api: Api, product_ids: list[int], chance: random.Random) -> dict[str, Any]:
    """Of one to five products; some are held, and of these some are confirmed and some cancelled."""
    chosen = chance.sample(product_ids, chance.randint(1, 5))
    content: dict[str, Any] = {"lines": [{"productId": id_, "quantity": chance.randint(1, 3)} for id_ in chosen]}
    placed = await api.post("/orders", {**content, **chance.choice([{}, {"holdSeconds": 600}])})
    path = f"/orders/{placed.data['id']}"
    decided: dict[str, Any] = await api.data(f"{path}?wait=30")
    if decided["status"] == "held" and (word := chance.choice(["confirm", "cancel", None])):
        answer = await api.post(f"{path}/{word}", None)
        assert answer.status == 200
        return dict(answer.data)
    return decided


@pytest.mark.timeout(180)
async def test_orders_of_overlapping_products_are_whole_or_rejected_and_none_is_oversold(
    api: Api, system: System, servers: Servers, tmp_path: Path
) -> None:
    log = servers.postgres.daemon.log
    begin = log.stat().st_size
    lamp = {"name": "Lamp", "price": "1.00", "qty": STOCK}
    product_ids = [int((await api.post("/products", lamp)).data["id"]) for _ in range(PRODUCTS)]

    async def client(via: Api, number: int) -> list[dict[str, Any]]:
        chance = random.Random(number)  # noqa: S311  # the same orders each time
        return [await order(via, product_ids, chance) for _ in range(ORDERS)]

    others = System(servers, tmp_path)
    try:
        await others.start()
        async with connect(others.url) as other_api:
            clients = (client([api, other_api][number % 2], number) for number in range(CLIENTS))
            orders = [each for of_client in await asyncio.gather(*clients) for each in of_client]

            expected = {
                each["id"]: (
                    *KNOWN[each["status"]],
                    [f"{line['productId']} {line['quantity']}" for line in each["lines"]],
                )
                for each in orders
            }

            async def known() -> dict[int, tuple[str, bool, list[str]]]:
                return {id_: tuple(row) for id_, *row in await system.products(RESERVATIONS, [*expected])}

            await reaches(known, expected, within=30)
    finally:
        await others.stop()

    sold = Counter[int]()
    for each in orders:
        taken = {line["productId"]: line["quantity"] for line in each["lines"] if each["status"] in ("done", "held")}
        moved = dict(await system.products(MOVEMENTS, each["id"]))
        assert {id_: quantity for id_, quantity in moved.items() if quantity} == taken
        assert bool(each["shortages"]) is (each["status"] == "rejected")
        sold.update(taken)
    for product_id, qty, held, moved_in_all, held_in_all in await system.products(TOTALS, product_ids):
        assert (qty, held) == (moved_in_all, held_in_all)
        assert 0 <= qty == STOCK - sold[product_id]
    assert {each["status"] for each in orders} == KNOWN.keys()
    assert b"deadlock" not in log.read_bytes()[begin:]
