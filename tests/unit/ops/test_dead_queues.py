import pytest

from shared.messaging.topology import QUEUES, Queue


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_a_dead_letter_may_be_looked_at_far_more_often_than_the_brokers_default_allows(queue: Queue) -> None:
    assert queue.dead_arguments["x-delivery-limit"] >= 100_000
