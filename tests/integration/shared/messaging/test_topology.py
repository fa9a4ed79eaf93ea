import aiormq

from shared.messaging import topology
from tests.broker import Vhost


async def test_a_queue_of_an_older_version_is_used_as_it_is(vhost: Vhost) -> None:
    dead, queue = topology.ORDERS_STOCK.dead, topology.ORDERS_STOCK.name
    async with vhost.channel() as channel:
        await channel.queue_declare(dead, durable=True, arguments={"x-queue-type": "quorum"})
    connection = await aiormq.connect(vhost.url)

    await topology.declare(connection)

    await connection.close()
    await vhost.publish("order.updated", b"[]")
    assert [await vhost.depth(dead), await vhost.depth(queue)] == [0, 1]
