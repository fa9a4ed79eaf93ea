import asyncio

import aiormq
import orjson
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.messaging import topology
from shared.messaging.consumer import Consumer
from shared.messaging.publisher import Publisher
from shared.messaging.topology import EXCHANGE, PRODUCTS_ORDERS
from tests.broker import Vhost, headers, orders_created
from tests.integration.line import Line
from tests.integration.shared.messaging.conftest import Handler, consuming
from tests.waiting import eventually, reaches

QUEUE, DEAD = PRODUCTS_ORDERS.name, PRODUCTS_ORDERS.dead
CONSUMER_CANCEL = b"\0\x3c\0\x1e"  # basic.cancel of AMQP 0-9-1: class 60, method 30


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
    handler.is_reachable = False
    await vhost.publish_batch(*orders_created(7, [1, 2]))
    await eventually(lambda: consumer.stalled)
    await eventually(lambda: len(handler.batches) > 2)  # it was tried again
    await vhost.publish_batch(*orders_created(7, [3]))

    assert handler.applied == []
    handler.is_reachable = True

    await eventually(lambda: handler.applied == [1, 2, 3])
    assert not consumer.stalled
    assert await vhost.depth(DEAD) == 0


async def test_a_held_batch_that_went_to_another_consumer_holds_nothing_up(
    consumer: Consumer, handler: Handler, vhost: Vhost, publisher: Publisher, consumer_line: Line
) -> None:
    handler.is_reachable = False
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


async def test_it_consumes_again_though_it_was_not_told_that_its_queue_is_another_one(
    handler: Handler, publisher: Publisher, vhost: Vhost, consumer_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with RabbitMQ 3.10, where a queue that is deleted is there again at once."""
    monkeypatch.setattr("shared.messaging.consumer._LOOK", 0.5)
    url = f"amqp://guest:guest@127.0.0.1:{consumer_line.port}/{vhost.name}"
    async with consuming(url, handler, publisher), vhost.channel() as channel:
        consumer_line.lose_answers()
        await channel.queue_delete(QUEUE)
        await eventually(lambda: CONSUMER_CANCEL in (consumer_line.lost or b""))
        await topology.declare(channel.connection)
        consumer_line.restore()
        await vhost.publish_batch(*orders_created(7, [1]))

        await eventually(lambda: handler.applied == [1])


async def test_its_queue_and_the_dead_letters_are_measured_and_without_a_session_it_is_no_consumer(
    handler: Handler, publisher: Publisher, vhost: Vhost, consumer_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.consumer._LOOK", 0.5)

    def measured() -> list[float | None]:
        named = {"queue_consumers": QUEUE, "queue_messages": DEAD}
        return [REGISTRY.get_sample_value(name, {"queue": queue}) for name, queue in named.items()]

    url = f"amqp://guest:guest@127.0.0.1:{consumer_line.port}/{vhost.name}"
    async with consuming(url, handler, publisher):
        await vhost.publish("order.created", b"not JSON")
        await reaches(measured, [1, 1])
        consumer_line.cut()
        await reaches(measured, [0, 1])


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


async def test_an_event_whose_row_is_locked_holds_up_no_other_and_waits_for_its_lock(
    vhost: Vhost, handler: Handler, publisher: Publisher
) -> None:
    handler.locked = {2, 4}
    async with consuming(vhost.url, handler, publisher) as consumer:
        await vhost.publish_batch(*orders_created(7, [1, 2, 3, 4]))
        await vhost.publish_batch(*orders_created(7, [5]))
        await eventually(lambda: handler.applied == [1, 3, 5])
        assert consumer.stalled
        handler.locked = {4}
        await eventually(lambda: handler.applied == [1, 3, 5, 2])
        assert consumer.stalled
    assert [each["id"] for each in await vhost.take_events(QUEUE)] == ["1", "2", "3", "4"]

    handler.locked = set()
    async with consuming(vhost.url, handler, publisher) as consumer:
        await vhost.publish_batch(*orders_created(7, [6]))
        await eventually(lambda: handler.applied[-1] == 6)
        assert not consumer.stalled
        await consumer.stop()
    await reaches(lambda: vhost.depth(QUEUE), 0)


async def test_however_many_events_wait_the_others_go_on(consumer: Consumer, handler: Handler, vhost: Vhost) -> None:
    """More than a consumer may hold messages, each of which carries one of them."""
    waiting = range(1, 601)
    handler.locked, handler.unlucky = set(waiting[:-1]), {600}
    async with vhost.channel() as channel:
        for order_id in waiting:
            body = orjson.dumps(orders_created(7, [order_id]))
            await channel.basic_publish(body, exchange=EXCHANGE, routing_key="order.created")
    await vhost.publish_batch(*orders_created(7, [601]))
    await eventually(lambda: handler.applied == [601])
    assert consumer.stalled
    handler.locked, handler.unlucky = set(), set()

    await eventually(lambda: set(handler.applied) == {*waiting, 601})
    await eventually(lambda: not consumer.stalled)
    assert await vhost.depth(DEAD) == 0


@pytest.mark.parametrize("unlucky", [[2], [2, 4]], ids=["in a quiet queue", "while others go through"])
async def test_an_event_that_fails_alone_is_tried_for_a_while_and_then_buried(
    consumer: Consumer, handler: Handler, vhost: Vhost, monkeypatch: pytest.MonkeyPatch, unlucky: list[int]
) -> None:
    monkeypatch.setattr("shared.messaging.consumer._TRIES", 4)
    monkeypatch.setattr("shared.messaging.consumer._PATIENCE", 0.1)
    handler.unlucky = {*unlucky}
    await vhost.publish_batch(*orders_created(7, unlucky))

    async def all_are_buried() -> bool:
        if len(unlucky) > 1:
            await vhost.publish_batch(*orders_created(7, [1]))
        return await vhost.depth(DEAD) == len(unlucky)

    await eventually(all_are_buried)
    assert handler.batches.count(1) >= 4 * len(unlucky)
    dead = await vhost.take(DEAD)
    assert {headers(each)["x-error"] for each in dead} == {"LookupError: an error of the program"}
    assert sorted(orjson.loads(each.body)[0]["id"] for each in dead) == [str(order_id) for order_id in unlucky]
    await eventually(lambda: not consumer.stalled)


async def test_where_all_fail_alike_none_is_to_blame(
    consumer: Consumer, handler: Handler, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that answers, and refuses whatever changes something."""
    monkeypatch.setattr("shared.messaging.consumer._TRIES", 2)
    monkeypatch.setattr("shared.messaging.consumer._PATIENCE", 0.0)
    handler.outage = True
    await vhost.publish_batch(*orders_created(7, [1, 2, 3]))
    await eventually(lambda: len(handler.batches) > 20)
    assert consumer.stalled
    handler.outage = False

    await eventually(lambda: sorted(handler.applied) == [1, 2, 3])
    await eventually(lambda: not consumer.stalled)
    assert await vhost.depth(DEAD) == 0


async def test_a_replica_that_can_apply_nothing_gives_its_events_back(
    vhost: Vhost, handler: Handler, publisher: Publisher
) -> None:
    """Although its database answers."""
    handler.outage = True
    other = Handler()
    async with consuming(vhost.url, handler, publisher) as consumer:
        for order_id in range(1, 101):
            await vhost.publish_batch(*orders_created(7, [order_id]))
        await eventually(lambda: consumer.stalled)
        async with consuming(vhost.url, other, publisher):
            await eventually(lambda: set(other.applied) == set(range(1, 101)), within=15)
        handler.outage = False
        await vhost.publish_batch(*orders_created(7, [101]))

        await eventually(lambda: handler.applied == [101])
        await eventually(lambda: not consumer.stalled)
        await consumer.stop()
    assert (await vhost.depth(QUEUE), await vhost.depth(DEAD)) == (0, 0)


@pytest.mark.parametrize("fault", ["is_reachable", "outage"])
async def test_events_go_back_so_seldom_that_they_never_reach_the_limit_of_deliveries(
    vhost: Vhost, handler: Handler, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Once before the database answers again; and a few times if it answers, and refuses all the same."""
    monkeypatch.setattr("shared.messaging.consumer._HOLD", 0.0)
    monkeypatch.setattr("shared.messaging.consumer._MOST_GIVEN_BACK", 3)
    setattr(handler, fault, not getattr(handler, fault))
    with capture_logs() as lines:
        async with consuming(vhost.url, handler, publisher):
            await vhost.publish_batch(*orders_created(7, [1, 2]))
            await eventually(lambda: len(handler.batches) > 4 or handler.probes > 6)

    assert [line["event"] for line in lines].count("events given back") == {"is_reachable": 1, "outage": 3}[fault]


async def test_a_session_ends_although_the_look_after_its_queue_loses_its_cancellation(
    vhost: Vhost, handler: Handler, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As aiormq does now and then: it makes an error of its own of it."""
    looking = asyncio.Event()

    async def losing(*_: object, **__: object) -> None:
        looking.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise aiormq.AMQPConnectionError from None

    monkeypatch.setattr("shared.messaging.consumer._HOLD", 0.0)
    monkeypatch.setattr("shared.messaging.consumer._LOOK", 1.0)
    handler.outage = True
    async with consuming(vhost.url, handler, publisher) as consumer:
        await eventually(lambda: consumer.connected)
        with monkeypatch.context() as patch:
            patch.setattr("shared.messaging.connection._Connection.channel", losing)
            await asyncio.wait_for(looking.wait(), 5)
            await vhost.publish_batch(*orders_created(7, [1]))
            await eventually(lambda: handler.batches == [1])
        handler.outage = False
        await eventually(lambda: handler.applied == [1])


async def test_a_consumer_whose_broker_falls_silent_gives_its_events_back(
    vhost: Vhost, handler: Handler, publisher: Publisher, consumer_line: Line
) -> None:
    """Within about two heartbeats, although the broker still gets its own."""
    url = f"amqp://guest:guest@127.0.0.1:{consumer_line.port}/{vhost.name}?heartbeat=2"
    handler.may_go_on.clear()
    async with consuming(url, handler, publisher) as consumer:
        await vhost.publish_batch(*orders_created(7, [1]))
        await eventually(lambda: handler.batches == [1])
        consumer_line.hold_answers()
        await reaches(lambda: vhost.depth(QUEUE), 1, within=6)
        assert not consumer.connected
