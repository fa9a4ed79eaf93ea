import asyncio
from collections import Counter

import pytest

from products import repository
from products.service import Stock
from products.settlement import Claim, Release, Settlement, settle
from shared.contracts.events import Reason
from shared.db import Database
from tests.api import Api
from tests.broker import Vhost, orders_created
from tests.databases import fetch
from tests.integration.products.stock import left, movements, outcomes, product
from tests.waiting import eventually


@pytest.fixture
async def last_piece(products_database_url: str) -> int:
    return await product(products_database_url, qty=1)


def told(settlement: Settlement) -> list[tuple[int, str, str | None]]:
    return sorted(
        (reservation.order_id, reservation.outcome, reservation.reason) for reservation, _ in settlement.answers
    )


async def announced(url: str) -> list[tuple[int, str, str | None]]:
    """Order, status and reason of each event in the outbox."""
    return await fetch(
        url,
        """
        SELECT (payload->>'orderId')::int, payload->>'status', payload->>'reason'
        FROM outbox WHERE type = 'order.updated' ORDER BY id
        """,
    )


async def test_of_two_orders_for_the_last_piece_the_first_gets_it(
    stock: Stock, products_database_url: str, last_piece: int
) -> None:
    settlement = await stock.settle([Claim(1, last_piece, 1), Claim(2, last_piece, 1)])

    assert told(settlement) == [(1, "reserved", None), (2, "rejected", Reason.INSUFFICIENT_STOCK)]
    assert await announced(products_database_url) == [(1, "done", None), (2, "rejected", "insufficient_stock")]
    assert await left(products_database_url, last_piece) == 0


async def test_an_order_that_comes_twice_takes_once_and_gets_the_same_answer(
    stock: Stock, products_database_url: str
) -> None:
    product_id = await product(products_database_url, qty=5)
    claims = [Claim(1, product_id, 3), Claim(2, product_id, 3)]

    first = await stock.settle(claims)
    again = await stock.settle(claims)
    twice_in_one_batch = await stock.settle([Claim(3, product_id, 1), Claim(3, product_id, 1)])

    assert told(again) == told(first)
    assert told(twice_in_one_batch) == [(3, "reserved", None)]
    assert await announced(products_database_url) == [
        (1, "done", None),
        (2, "rejected", "insufficient_stock"),
        (1, "done", None),
        (2, "rejected", "insufficient_stock"),
        (3, "done", None),
    ]
    assert await left(products_database_url, product_id) == 1


async def test_an_order_of_no_product_is_rejected_and_remembered(stock: Stock, products_database_url: str) -> None:
    first = await stock.settle([Claim(1, 404, 1)])
    await product(products_database_url, qty=1)
    again = await stock.settle([Claim(1, 404, 1)])

    assert told(first) == told(again) == [(1, "rejected", Reason.PRODUCT_NOT_FOUND)]


async def test_the_answer_goes_out_under_the_orders_trace(
    stock: Stock, products_database_url: str, last_piece: int
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    await stock.settle([Claim(1, last_piece, 1, traceparent)])

    assert await fetch(products_database_url, "SELECT traceparent FROM outbox") == [(traceparent,)]


async def test_a_hot_product_is_updated_once_a_batch(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=1000)

    await stock.settle([Claim(order_id, product_id, 1) for order_id in range(1, 301)])

    # Each update would leave another version of the row behind it: this is the second.
    assert await fetch(products_database_url, "SELECT qty, ctid::text FROM products") == [(700, "(0,2)")]
    assert await left(products_database_url, product_id) == 700


async def test_without_the_lock_two_batches_give_the_last_piece_twice(
    products_database: Database, last_piece: int
) -> None:
    """The race that the next test is about: it is there."""
    both_have_read = asyncio.Barrier(2)

    async def decide(order_id: int) -> Settlement:
        async with products_database.transaction() as connection:
            qty = await connection.fetchval("SELECT qty FROM products WHERE id = $1", last_piece)
            await both_have_read.wait()
            return settle({last_piece: qty}, {}, [Claim(order_id, last_piece, 1)])

    first, second = await asyncio.gather(decide(1), decide(2))
    assert told(first) + told(second) == [(1, "reserved", None), (2, "reserved", None)]


async def test_concurrent_batches_never_oversell(stock: Stock, products_database_url: str) -> None:
    product_ids = [await product(products_database_url, qty=10) for _ in range(2)]
    batches = [[Claim(2 * n + k, product_ids[k], 1) for k in (n % 2, 1 - n % 2)] for n in range(1, 31)]

    settlements = await asyncio.gather(*map(stock.settle, batches))

    answers = Counter(outcome for settlement in settlements for _, outcome, _ in told(settlement))
    assert answers == {"reserved": 20, "rejected": 40}
    assert [await left(products_database_url, product_id) for product_id in product_ids] == [0, 0]


async def test_an_order_in_two_batches_at_once_takes_once(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=100)
    claims = [Claim(order_id, product_id, 1) for order_id in range(1, 11)]

    settlements = await asyncio.gather(*(stock.settle(claims) for _ in range(6)))

    expected = [(order_id, "reserved", None) for order_id in range(1, 11)]
    assert [told(settlement) for settlement in settlements] == [expected] * 6
    assert await left(products_database_url, product_id) == 90


async def test_claims_and_releases_of_the_same_orders_at_once_leave_the_stock_as_it_was(
    stock: Stock, products_database_url: str
) -> None:
    product_id = await product(products_database_url, qty=100)
    batches: list[list[Claim | Release]] = [
        [kind(order_id, product_id, 1) for order_id in range(1, 11)] for kind in (Claim, Release) for _ in range(4)
    ]

    await asyncio.gather(*map(stock.settle, batches))

    assert await outcomes(products_database_url) == dict.fromkeys(range(1, 11), "released")
    assert await left(products_database_url, product_id) == 100
    moved = Counter((order_id, kind) for order_id, kind, _ in await movements(products_database_url))
    assert set(moved.values()) <= {1}


async def test_orders_of_no_product_that_come_to_two_processes_at_once_are_decided_once(
    stock: Stock, products_database_url: str
) -> None:
    """There is no row to lock: the second finds the reservation only when it writes its own."""
    claims = [Claim(order_id, 404, 1) for order_id in range(1, 11)]

    settlements = await asyncio.gather(*(stock.settle(claims) for _ in range(6)))

    expected = [(order_id, "rejected", Reason.PRODUCT_NOT_FOUND) for order_id in range(1, 11)]
    assert [told(settlement) for settlement in settlements] == [expected] * 6
    assert await outcomes(products_database_url) == dict.fromkeys(range(1, 11), "rejected")


async def test_a_batch_that_fails_changes_nothing(
    products_database: Database, products_database_url: str, last_piece: int
) -> None:
    async def settle_and_fail() -> None:
        async with products_database.transaction() as connection:
            stock = await repository.lock_stock(connection, [last_piece])
            settlement = settle(stock, {}, [Claim(1, last_piece, 1)])
            await repository.settle(connection, settlement)
            await repository.announce(connection, settlement.answers)
            raise LookupError

    with pytest.raises(LookupError):
        await settle_and_fail()
    assert await left(products_database_url, last_piece) == 1
    assert await outcomes(products_database_url) == {}
    assert await announced(products_database_url) == []


async def test_the_same_order_created_delivered_twice_is_answered_twice_and_reserved_once(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    product_id = await product(products_database_url, qty=10)
    for _ in range(2):
        await vhost.publish_batch(*orders_created(product_id, [1], quantity=4))

    answers: list[dict[str, object]] = []

    async def both_are_answered() -> bool:
        answers.extend(each["data"] for each in await vhost.take_events("orders.stock"))
        return len(answers) == 2

    await eventually(both_are_answered)
    assert answers == [{"orderId": 1, "productId": product_id, "status": "done", "reason": None}] * 2
    assert await left(products_database_url, product_id) == 6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ALTER TABLE reservations RENAME TO not_yet", "ALTER TABLE not_yet RENAME TO reservations"),
        ("REVOKE UPDATE ON products FROM products", "GRANT UPDATE ON products TO products"),
    ],
)
async def test_orders_wait_for_a_schema_that_is_not_there_yet(
    products_api: Api, products_database_url: str, vhost: Vhost, before: str, after: str
) -> None:
    owner_url = products_database_url.replace("//products:", "//products_owner:")
    product_id = await product(products_database_url, qty=10)
    await fetch(owner_url, before)
    await vhost.publish_batch(*orders_created(product_id, [1, 2], quantity=1))

    async def is_unready() -> bool:
        return (await products_api.get("/health/ready")).status == 503

    async def both_are_served() -> bool:
        return await left(products_database_url, product_id) == 8

    await eventually(is_unready)
    await fetch(owner_url, after)
    await eventually(both_are_served)
    assert await vhost.depth("products.orders.dead") == 0


async def test_a_schema_that_changes_under_its_statements_costs_no_order(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    owner_url = products_database_url.replace("//products:", "//products_owner:")
    product_id = await product(products_database_url, qty=10)

    async def is_left(qty: int) -> bool:
        return await left(products_database_url, product_id) == qty

    await vhost.publish_batch(*orders_created(product_id, [1], quantity=1))
    await eventually(lambda: is_left(9))
    await fetch(owner_url, "ALTER TABLE products ALTER COLUMN qty TYPE numeric(20, 0)")
    await vhost.publish_batch(*orders_created(product_id, [2], quantity=1))
    await eventually(lambda: is_left(8))
    assert await vhost.depth("products.orders.dead") == 0


async def test_stock_that_an_order_took_is_seen_at_once(
    products_api: Api, products_database_url: str, vhost: Vhost
) -> None:
    product_id = await product(products_database_url, qty=10)
    before = (await products_api.get(f"/products/{product_id}")).data

    await vhost.publish_batch(*orders_created(product_id, [1], quantity=4))

    async def is_taken() -> bool:
        return await left(products_database_url, product_id) == 6

    async def is_shown() -> bool:
        return bool((await products_api.get(f"/products/{product_id}")).data["qty"] == 6)

    await eventually(is_taken)
    await eventually(is_shown, within=1)
    after = (await products_api.get(f"/products/{product_id}")).data
    # The version is that of name and price.
    assert (before["qty"], before["version"], after["qty"], after["version"]) == (10, 1, 6, 1)
