"""What each user of the broker may do once `ops broker` has run: everything else is refused by the broker itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

import aiormq
import orjson
import pytest
from aiormq.abc import AbstractChannel
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ops.errors import OpsError
from orders.app import create_app as create_orders
from orders.settings import Settings as OrdersSettings
from products.app import create_app as create_products
from products.settings import Settings as ProductsSettings
from shared.contracts.events import EventType
from shared.messaging.topology import EXCHANGE, QUEUE_EXCHANGE, QUEUES, Queue
from tests.api import Api, connect, serve
from tests.broker import USERS, Vhost, Vhosts, event
from tests.databases import fetch
from tests.integration.conftest import running
from tests.waiting import eventually, reaches

QUEUE_NAMES = {queue.name for queue in QUEUES}
BESIDE = {name for queue in QUEUES for name in queue.beside}
OF_PRODUCTS = {"order.updated", "product.created", "product.updated"}
OF_ORDERS = {"order.created", "order.cancelled", "order.confirmed", "order.expired"}
SENDS = {"products": OF_PRODUCTS, "orders": OF_ORDERS, "operator": set[str]()}
READS = {"products": {"products.orders"}, "orders": {"orders.stock", "orders.products"}, "operator": BESIDE}
# By queue name: what is buried, parked, put off or replayed.
SENDS_TO = {
    "products": {f"products.orders{beside}" for beside in ("", ".dead", ".parked")},
    "orders": {f"orders.{queue}{beside}" for queue in ("stock", "products") for beside in ("", ".dead", ".parked")},
    "operator": QUEUE_NAMES,
}
# Where it may bind its queues and those beside them again.
BINDS = {"products": OF_ORDERS, "orders": OF_PRODUCTS, "operator": set[str]()}
DECLARES = {**SENDS_TO, "operator": BESIDE}
REFUSED: dict[str, Callable[[AbstractChannel], Awaitable[object]]] = {
    "to bind a queue to all types": lambda channel: channel.queue_bind("products.orders", EXCHANGE, "order.#"),
    "to bind an exchange to all types": lambda channel: channel.exchange_bind(QUEUE_EXCHANGE, EXCHANGE, "order.#"),
    "to delete an exchange": lambda channel: channel.exchange_delete(EXCHANGE),
    "to declare a queue of its own": lambda channel: channel.queue_declare("other"),
    "to declare one that others take for theirs": lambda channel: channel.queue_declare("products.orders.dead2"),
}


async def unbind(channel: AbstractChannel, queue: Queue) -> None:
    for key in queue.types:
        await channel.queue_unbind(queue.name, EXCHANGE, key)


async def unbind_names(channel: AbstractChannel, queue: Queue) -> None:
    for name in (queue.name, *queue.beside):
        await channel.queue_unbind(name, QUEUE_EXCHANGE, name)


DELETED: dict[str, Callable[[AbstractChannel, Queue], Awaitable[object]]] = {
    "queues": lambda channel, queue: channel.queue_delete(queue.name),
    "dead-letter queues": lambda channel, queue: channel.queue_delete(queue.dead),
    "queues of parked events": lambda channel, queue: channel.queue_delete(queue.parked),
    "bindings to types": unbind,
    "bindings to names": unbind_names,
}


async def may(url: str, act: Callable[[AbstractChannel], Awaitable[object]]) -> bool:
    """Whether the broker lets this user do it."""
    connection = await aiormq.connect(url)
    try:
        await act(await connection.channel())
    except aiormq.exceptions.ChannelAccessRefused:
        return False
    finally:
        await connection.close()
    return True


async def may_send(url: str, exchange: str, key: str) -> bool:
    return await may(url, lambda channel: channel.basic_publish(b"[]", exchange=exchange, routing_key=key))


async def may_delete(url: str, queue: str) -> bool:
    return await may(url, lambda channel: channel.queue_delete(queue))


async def may_bind(url: str, queue: str, exchange: str, key: str) -> bool:
    return await may(url, lambda channel: channel.queue_bind(queue, exchange, key))


async def may_read(url: str, queue: str) -> bool:
    return await may(url, lambda channel: channel.basic_get(queue))


@pytest.mark.parametrize("user", USERS)
async def test_a_user_sends_its_own_types_and_reads_its_own_queues_and_no_others(vhost: Vhost, user: str) -> None:
    url = (await vhost.give_users())[user]

    sends = {type_.value for type_ in EventType if await may_send(url, EXCHANGE, type_)}
    sends_to = {name for name in QUEUE_NAMES | BESIDE if await may_send(url, QUEUE_EXCHANGE, name)}
    reads = {name for name in QUEUE_NAMES | BESIDE if await may_read(url, name)}
    by_default_exchange = {name for name in QUEUE_NAMES | BESIDE if await may_send(url, "", name)}

    assert (sends, sends_to, reads) == (SENDS[user], SENDS_TO[user], READS[user])
    assert by_default_exchange == set()


@pytest.mark.parametrize("user", USERS)
async def test_a_service_binds_its_own_queues_to_their_types_and_names_and_nobody_anything_else(
    vhost: Vhost, user: str
) -> None:
    url = (await vhost.give_users())[user]
    keys = {EXCHANGE: {type_.value for type_ in EventType}, QUEUE_EXCHANGE: QUEUE_NAMES | BESIDE}
    own = SENDS_TO[user] if BINDS[user] else set()

    binds = {
        (queue, exchange, key)
        for queue in QUEUE_NAMES | BESIDE
        for exchange in keys
        for key in keys[exchange]
        if await may_bind(url, queue, exchange, key)
    }

    assert binds == {
        *((queue, EXCHANGE, key) for queue in own for key in BINDS[user]),
        *((queue, QUEUE_EXCHANGE, key) for queue in own for key in own),
    }


@pytest.mark.parametrize("user", USERS)
async def test_a_user_changes_no_exchange_and_no_queue_of_others(vhost: Vhost, user: str) -> None:
    url = (await vhost.give_users())[user]
    others = (QUEUE_NAMES | BESIDE) - DECLARES[user]

    assert [what for what, act in REFUSED.items() if await may(url, act)] == []
    assert [name for name in others if await may_delete(url, name)] == []


@pytest.fixture
async def shop(
    vhost: Vhost,
    products_settings: ProductsSettings,
    orders_settings: OrdersSettings,
    orders_redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Api]:
    """The order service and a product service with one product, with users of their own."""
    monkeypatch.setattr("shared.messaging.consumer._LOOK", 0.5)
    urls = await vhost.give_users()
    async with serve(create_products(replace(products_settings, amqp_url=urls["products"]))) as url:
        settings = replace(orders_settings, amqp_url=urls["orders"], products_url=url)
        async with running(create_orders(settings)) as orders, connect(url) as products:
            await products.post("/products", {"name": "Lamp", "price": "1.00", "qty": 10})
            yield orders


@pytest.mark.parametrize("deleted", DELETED)
async def test_what_an_administrator_deletes_the_services_declare_again(
    shop: Api, vhost: Vhost, vhosts: Vhosts, *, products_database_url: str, orders_database_url: str, deleted: str
) -> None:
    """Orders that are placed meanwhile become done, and what nobody can read becomes a dead letter, or is parked."""
    before = await vhosts.topology(vhost)
    async with vhost.channel() as channel:
        for queue in QUEUES:
            await DELETED[deleted](channel, queue)
        placed = [await shop.post("/orders", {"productId": 1, "quantity": 1}) for _ in range(3)]
        orders = [await shop.data(f"/orders/{order.data['id']}?wait=20") for order in placed]
        await reaches(lambda: vhosts.topology(vhost), before)
        for queue in QUEUES:
            await channel.basic_publish(b"no event", routing_key=queue.name)
            await channel.basic_publish(orjson.dumps([event("new", {})]), routing_key=queue.name)
            for name in queue.beside:
                await reaches(partial(vhost.depth, name), 1)

    assert [order["status"] for order in orders] == ["done"] * 3
    for url in (products_database_url, orders_database_url):
        assert await fetch(url, "SELECT type FROM outbox UNION ALL SELECT type FROM parked_events") == []


async def test_an_exchange_that_was_deleted_is_there_again_after_the_next_run(shop: Api, vhost: Vhost) -> None:
    async with vhost.channel() as channel:
        await channel.exchange_delete(EXCHANGE)
    with capture_logs() as lines:
        order_id = (await shop.post("/orders", {"productId": 1, "quantity": 1})).data["id"]
        await eventually(lambda: any(line["event"] == "outbox waits" for line in lines))

    before = await shop.data(f"/orders/{order_id}")
    await vhost.give_users()
    after = await shop.data(f"/orders/{order_id}?wait=20")

    assert [before["status"], after["status"]] == ["pending", "done"]


async def test_a_new_password_takes_the_place_of_the_old_one(vhost: Vhost) -> None:
    old = await vhost.give_users()
    new = await vhost.give_users("another")

    for user in USERS:
        assert await may_read(new[user], min(READS[user]))
        with pytest.raises(aiormq.exceptions.AMQPConnectionError):
            await aiormq.connect(old[user])


@pytest.mark.parametrize("shared_with", ["guest", "orders"])
async def test_two_users_of_one_name_are_refused(vhost: Vhost, shared_with: str) -> None:
    """The permissions of one would be those of the other, and an administrator would be none any more."""
    with pytest.raises(OpsError, match="a user of its own"):
        await vhost.give_users(products=shared_with)
