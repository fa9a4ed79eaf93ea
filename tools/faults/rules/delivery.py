"""What is promised of events."""

from collections.abc import Iterator

from shared.messaging.topology import QUEUES
from tools.faults.difference import Breach, Difference
from tools.faults.evidence import Evidence


def outboxes_are_empty(evidence: Evidence) -> Iterator[Difference]:
    """Every event has left for the broker."""
    for name, rows in evidence.state.outboxes.items():
        if rows:
            yield Difference(Breach.OUTBOX, f"{rows} rows in {name}")


def queues_are_empty(evidence: Evidence) -> Iterator[Difference]:
    """Every queue is there, and every event in it was handled."""
    for queue in QUEUES:
        depth = evidence.state.queues.get(queue.name)
        if depth != 0:
            yield Difference(Breach.QUEUE, f"{queue.name} {'does not exist' if depth is None else f'holds {depth}'}")


def no_event_is_given_up(evidence: Evidence) -> Iterator[Difference]:
    """None of the faults makes an event unreadable or impossible to apply."""
    for letter in evidence.state.dead_letters:
        text = f"{letter.queue}: {letter.event_type} {letter.event_id}, {letter.reason}: {letter.error}"
        yield Difference(Breach.DEAD_LETTER, text, letter.trace_id)
