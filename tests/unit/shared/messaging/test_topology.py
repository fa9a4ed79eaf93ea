from shared.contracts.events import EventType
from shared.messaging.topology import QUEUES


def test_every_event_has_one_queue() -> None:
    routed = [event_type for queue in QUEUES for event_type in queue.types]
    assert sorted(EventType) == sorted(routed)
