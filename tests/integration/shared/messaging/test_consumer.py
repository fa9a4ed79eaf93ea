import asyncio

from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher
from shared.messaging.topology import PRODUCTS_ORDERS
from tests.broker import Vhost, orders_created
from tests.integration.line import Line
from tests.integration.shared.messaging.conftest import Handler, consuming
from tests.waiting import eventually, reaches

QUEUE, DEAD = PRODUCTS_ORDERS.name, PRODUCTS_ORDERS.dead


async def given_back(vhost: Vhost) -> list[str]:
    """The events that a consumer, now gone, had not acknowledged."""
    await eventually(lambda: vhost.depth(QUEUE))
    return [each["id"] for each in await vhost.take_events(QUEUE)]


async def test_messages_that_arrive_during_a_batch_share_the_next(
    vhost: Vhost, handler: Handler, publisher: Publisher
) -> None:
    await vhost.publish("order.created", b"[]")  # an empty batch is acknowledged too
    for order_id in range(1, 31):
        await vhost.publish_batch(*orders_created(7, [order_id]))

    handler.may_go_on.clear()
    async with consuming(vhost.url, handler, publisher):
        await reaches(lambda: vhost.depth(QUEUE), 0)
        handler.may_go_on.set()
        await eventually(lambda: len(handler.applied) == 30)
        assert len(handler.batches) < 10
        handler.may_go_on.clear()
        await vhost.publish_batch(*orders_created(7, [31]))
        await eventually(lambda: sum(handler.batches) == 31)

    assert handler.applied == list(range(1, 31))
    assert await given_back(vhost) == ["31"]


async def test_while_a_server_is_down_the_batch_is_held(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    handler.outage = True
    await vhost.publish_batch(*orders_created(7, [1, 2]))
    await eventually(lambda: consumer.stalled)
    await eventually(lambda: len(handler.batches) > 2)  # it was tried again
    await vhost.publish_batch(*orders_created(7, [3]))

    assert handler.applied == []
    handler.outage = False

    await eventually(lambda: handler.applied == [1, 2, 3])
    assert not consumer.stalled
    assert await vhost.depth(DEAD) == 0


async def test_a_held_batch_that_went_to_another_consumer_holds_nothing_up(
    consumer: Consumer, handler: Handler, vhost: Vhost, publisher: Publisher, consumer_line: Line
) -> None:
    handler.outage = True
    await vhost.publish_batch(*orders_created(7, [1]))
    await eventually(lambda: consumer.stalled)

    consumer_line.cut()
    await eventually(lambda: not consumer.connected)
    await eventually(lambda: not consumer.stalled)
    other = Handler()
    async with consuming(vhost.url, other, publisher):
        await eventually(lambda: other.applied == [1])
        consumer_line.restore()
        await eventually(lambda: consumer.connected)

    assert not consumer.stalled


async def test_a_batch_that_was_not_acknowledged_is_delivered_again(
    consumer: Consumer, handler: Handler, vhost: Vhost, consumer_line: Line
) -> None:
    handler.may_go_on.clear()
    await vhost.publish_batch(*orders_created(7, [1]))
    await eventually(lambda: handler.batches == [1])

    consumer_line.cut()
    await eventually(lambda: not consumer.connected)
    handler.may_go_on.set()
    consumer_line.restore()

    await eventually(lambda: handler.applied == [1])
    assert handler.batches == [1, 1]


async def test_it_consumes_again_after_its_queue_is_gone(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    async with vhost.channel() as channel:
        await channel.queue_delete(QUEUE)
    await eventually(lambda: not consumer.connected)
    await eventually(lambda: consumer.connected)
    await vhost.publish_batch(*orders_created(7, [2]))

    await eventually(lambda: handler.applied == [2])


async def test_stop_finishes_a_batch_and_takes_no_other(vhost: Vhost, handler: Handler, publisher: Publisher) -> None:
    handler.may_go_on.clear()

    async with consuming(vhost.url, handler, publisher) as consumer:
        await vhost.publish_batch(*orders_created(7, [1]))
        await eventually(lambda: handler.batches == [1])
        await vhost.publish_batch(*orders_created(7, [2]))
        stop = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)  # lets stop begin
        assert not stop.done()
        handler.may_go_on.set()
        await stop

    assert handler.applied == [1]
    assert await given_back(vhost) == ["2"]
