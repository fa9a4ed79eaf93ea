import asyncio
from collections import Counter

import pytest

from products import repository
from products.domain import Claim, Outcome, allocate
from products.service import Stock
from shared.cache import Cache
from shared.contracts.events import Reason
from shared.db import Database
from shared.messaging.outbox import Relay
from shared.messaging.publisher import Publisher
from tests.api import Api
from tests.broker import Vhost, orders_created
from tests.databases import fetch
from tests.waiting import eventually


@pytest.fixture
def stock(products_database: Database, cache: Cache) -> Stock:
    """Its relay does not run, so what it announces can be read from the outbox."""
    relay = Relay(products_database, Publisher("amqp://127.0.0.1/", "test"), "/products")
    return Stock(products_database, cache, relay)


@pytest.fixture
async def last_piece(products_database_url: str) -> int:
    return await product(products_database_url, qty=1)


async def product(url: str, qty: int) -> int:
    """Its id."""
    [(product_id,)] = await fetch(
        url,
        """
        WITH created AS (INSERT INTO products (name, price, qty) VALUES ('Lamp', 1, $1) RETURNING id, qty)
        INSERT INTO stock_movements (product_id, kind, delta) SELECT id, 'initial', qty FROM created
        RETURNING product_id
        """,
        qty,
    )
    return int(product_id)


async def left(url: str, product_id: int) -> int:
    """The stock, which is always the sum of its movements."""
    [(qty, moved)] = await fetch(
        url,
        "SELECT qty, (SELECT sum(delta) FROM stock_movements WHERE product_id = p.id) FROM products p WHERE id = $1",
        product_id,
    )
    assert qty == moved
    return int(qty)


def told(outcomes: list[Outcome]) -> list[tuple[int, str, str | None]]:
    return sorted((outcome.claim.order_id, outcome.answer, outcome.reason) for outcome in outcomes)


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
    outcomes = await stock.take([Claim(1, last_piece, 1), Claim(2, last_piece, 1)])

    assert told(outcomes) == [(1, "reserved", None), (2, "rejected", Reason.INSUFFICIENT_STOCK)]
    assert await announced(products_database_url) == [(1, "done", None), (2, "rejected", "insufficient_stock")]
    assert await left(products_database_url, last_piece) == 0


async def test_an_order_that_comes_twice_takes_once_and_gets_the_same_answer(
    stock: Stock, products_database_url: str
) -> None:
    product_id = await product(products_database_url, qty=5)
    claims = [Claim(1, product_id, 3), Claim(2, product_id, 3)]

    first = await stock.take(claims)
    again = await stock.take(claims)
    twice_in_one_batch = await stock.take([Claim(3, product_id, 1), Claim(3, product_id, 1)])

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
    first = await stock.take([Claim(1, 404, 1)])
    await product(products_database_url, qty=1)
    again = await stock.take([Claim(1, 404, 1)])

    assert told(first) == told(again) == [(1, "rejected", Reason.PRODUCT_NOT_FOUND)]


async def test_the_answer_goes_out_under_the_orders_trace(
    stock: Stock, products_database_url: str, last_piece: int
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    await stock.take([Claim(1, last_piece, 1, traceparent)])

    assert await fetch(products_database_url, "SELECT traceparent FROM outbox") == [(traceparent,)]


async def test_a_hot_product_is_updated_once_a_batch(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=1000)

    await stock.take([Claim(order_id, product_id, 1) for order_id in range(1, 301)])

    assert await fetch(products_database_url, "SELECT qty, version FROM products") == [(700, 2)]
    assert await left(products_database_url, product_id) == 700


async def test_without_the_lock_two_batches_give_the_last_piece_twice(
    products_database: Database, last_piece: int
) -> None:
    """The race that the next test is about: it is there."""
    both_have_read = asyncio.Barrier(2)

    async def decide(order_id: int) -> list[Outcome]:
        async with products_database.transaction() as connection:
            qty = await connection.fetchval("SELECT qty FROM products WHERE id = $1", last_piece)
            await both_have_read.wait()
            return allocate({last_piece: qty}, [Claim(order_id, last_piece, 1)])

    outcomes = [outcome for batch in await asyncio.gather(decide(1), decide(2)) for outcome in batch]
    assert told(outcomes) == [(1, "reserved", None), (2, "reserved", None)]


async def test_concurrent_batches_never_oversell(stock: Stock, products_database_url: str) -> None:
    product_ids = [await product(products_database_url, qty=10) for _ in range(2)]
    batches = [[Claim(2 * n + k, product_ids[k], 1) for k in (n % 2, 1 - n % 2)] for n in range(1, 31)]

    outcomes = [outcome for batch in await asyncio.gather(*map(stock.take, batches)) for outcome in batch]

    assert Counter(outcome.answer for outcome in outcomes) == {"reserved": 20, "rejected": 40}
    assert [await left(products_database_url, product_id) for product_id in product_ids] == [0, 0]


async def test_an_order_in_two_batches_at_once_takes_once(stock: Stock, products_database_url: str) -> None:
    product_id = await product(products_database_url, qty=100)
    claims = [Claim(order_id, product_id, 1) for order_id in range(1, 11)]

    batches = await asyncio.gather(*(stock.take(claims) for _ in range(6)))

    assert [told(batch) for batch in batches] == [[(order_id, "reserved", None) for order_id in range(1, 11)]] * 6
    assert await left(products_database_url, product_id) == 90


async def test_a_batch_that_fails_changes_nothing(
    products_database: Database, products_database_url: str, last_piece: int
) -> None:
    async def take_and_fail() -> None:
        async with products_database.transaction() as connection:
            outcomes = allocate(await repository.lock_stock(connection, [last_piece]), [Claim(1, last_piece, 1)])
            await repository.take_stock(connection, outcomes)
            await repository.announce(connection, outcomes)
            raise LookupError

    with pytest.raises(LookupError):
        await take_and_fail()
    assert await left(products_database_url, last_piece) == 1
    assert await fetch(products_database_url, "SELECT * FROM reservations") == []
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
    assert (before["qty"], before["version"], after["qty"], after["version"]) == (10, 1, 6, 2)
