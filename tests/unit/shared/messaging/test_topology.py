import pytest

from shared.contracts.events import EventType
from shared.messaging.topology import QUEUES, Queue


def test_every_event_has_one_queue() -> None:
    routed = [event_type for queue in QUEUES for event_type in queue.types]
    assert sorted(EventType) == sorted(routed)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: str(queue.name))
def test_a_queue_keeps_what_it_cannot_deliver(queue: Queue) -> None:
    expected = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue.name}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert expected.items() <= queue.arguments.items()
    assert queue.arguments["x-delivery-limit"] > 100
