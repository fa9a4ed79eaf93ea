import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api import Api, connect
from tests.e2e.replicas import orders_replica
from tests.e2e.system import System

SOON = 5.0
LAMP = {"name": "Lamp", "price": "1.00", "qty": 1_000}


@pytest.fixture
async def replicas(system: System, tmp_path: Path) -> AsyncIterator[tuple[Api, Api]]:
    """Two processes of the order service."""
    async with connect(system.services["orders"].url) as one, orders_replica(system, tmp_path) as other:
        yield one, other


async def test_whichever_process_takes_the_verdict_those_who_wait_at_the_other_are_answered(
    api: Api, system: System, replicas: tuple[Api, Api]
) -> None:
    product_id = (await api.post("/products", LAMP)).data["id"]
    async with system.locked("product", product_id):
        order = (await api.post("/orders", {"productId": product_id, "quantity": 1})).data
        waiting = asyncio.gather(*(replica.get(f"/orders/{order['id']}?wait=30") for replica in replicas))
        now = [await replica.get(f"/orders/{order['id']}") for replica in replicas]

    async with asyncio.timeout(SOON):
        answers = await waiting

    assert [answer.data["status"] for answer in now] == ["pending", "pending"]
    assert [answer.data["status"] for answer in answers] == ["done", "done"]


async def test_of_two_hundred_posts_with_one_key_to_both_processes_one_becomes_an_order(
    api: Api, system: System, replicas: tuple[Api, Api]
) -> None:
    product_id = (await api.post("/products", LAMP)).data["id"]
    order = {"productId": product_id, "quantity": 1}
    key = {"Idempotency-Key": f"one-key-{product_id}"}

    answers = await asyncio.gather(
        *(replica.post("/orders", order, headers=key) for _ in range(100) for replica in replicas)
    )
    repeated = [await replica.post("/orders", order, headers=key) for replica in replicas]

    placed = [answer for answer in answers if answer.status == 201]
    first = Counter(answer.headers.get("Idempotency-Replayed") for answer in placed)[None]
    assert Counter(answer.code for answer in answers) == {None: len(placed), "conflict": 200 - len(placed)}
    assert first == 1
    assert {answer.data["id"] for answer in (*placed, *repeated)} == {placed[0].data["id"]}
    assert [answer.headers["Idempotency-Replayed"] for answer in repeated] == ["true", "true"]
    assert await system.orders("SELECT count(*) FROM orders WHERE product_id = $1", product_id) == [(1,)]
