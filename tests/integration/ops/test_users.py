"""What each user of the broker may do once `ops broker` has run: everything else is refused by the broker itself."""

from collections.abc import Awaitable, Callable

import aiormq
import pytest
from aiormq.abc import AbstractChannel

from ops.errors import OpsError
from shared.contracts.events import EventType
from shared.messaging.publisher import Publisher, UnroutableError
from shared.messaging.topology import EXCHANGE, QUEUE_EXCHANGE, QUEUES
from shared.tasks import BackgroundTasks
from tests.broker import USERS, Vhost
from tests.waiting import eventually

QUEUE_NAMES = {queue.name for queue in QUEUES}
DEAD = {queue.dead for queue in QUEUES}
OF_PRODUCTS = {"order.updated", "product.created", "product.updated"}
OF_ORDERS = {"order.created", "order.cancelled", "order.confirmed", "order.expired"}
SENDS = {"products": OF_PRODUCTS, "orders": OF_ORDERS, "operator": set[str]()}
READS = {"products": {"products.orders"}, "orders": {"orders.stock", "orders.products"}, "operator": DEAD}
# By queue name: what is buried, put off or replayed.
SENDS_TO = {
    "products": {"products.orders", "products.orders.dead"},
    "orders": {"orders.stock", "orders.stock.dead", "orders.products", "orders.products.dead"},
    "operator": QUEUE_NAMES,
}
REFUSED: dict[str, Callable[[AbstractChannel], Awaitable[object]]] = {
    "to bind a queue": lambda channel: channel.queue_bind("products.orders", EXCHANGE, "order.updated"),
    "to bind an exchange": lambda channel: channel.exchange_bind(QUEUE_EXCHANGE, EXCHANGE, "order.updated"),
    "to delete an exchange": lambda channel: channel.exchange_delete(EXCHANGE),
    "to declare a queue of its own": lambda channel: channel.queue_declare("other"),
    "to declare one that others take for theirs": lambda channel: channel.queue_declare("products.orders.dead2"),
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


async def may_read(url: str, queue: str) -> bool:
    return await may(url, lambda channel: channel.basic_get(queue))


@pytest.mark.parametrize("user", USERS)
async def test_a_user_sends_its_own_types_and_reads_its_own_queues_and_no_others(vhost: Vhost, user: str) -> None:
    url = (await vhost.give_users())[user]

    sends = {type_.value for type_ in EventType if await may_send(url, EXCHANGE, type_)}
    sends_to = {name for name in QUEUE_NAMES | DEAD if await may_send(url, QUEUE_EXCHANGE, name)}
    reads = {name for name in QUEUE_NAMES | DEAD if await may_read(url, name)}
    by_default_exchange = {name for name in QUEUE_NAMES | DEAD if await may_send(url, "", name)}

    assert (sends, sends_to, reads) == (SENDS[user], SENDS_TO[user], READS[user])
    assert by_default_exchange == set()


@pytest.mark.parametrize("user", USERS)
async def test_a_user_changes_no_exchange_no_binding_and_no_queue_of_others(vhost: Vhost, user: str) -> None:
    url = (await vhost.give_users())[user]
    others = (QUEUE_NAMES | DEAD) - READS[user]

    assert [what for what, act in REFUSED.items() if await may(url, act)] == []
    assert [name for name in others if await may_delete(url, name)] == []


async def test_a_queue_that_was_deleted_is_there_again_after_the_next_run(
    vhost: Vhost, tasks: BackgroundTasks
) -> None:
    publisher = Publisher((await vhost.give_users())["orders"], "test")
    tasks.start("publisher", publisher.run())
    await eventually(lambda: publisher.connected)
    async with vhost.channel() as channel:
        await channel.queue_delete("products.orders")

    with pytest.raises(UnroutableError):
        await publisher.publish(EXCHANGE, "order.created", b"[]")
    await vhost.give_users()
    await publisher.publish(EXCHANGE, "order.created", b"[]")

    assert await vhost.depth("products.orders") == 1


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
