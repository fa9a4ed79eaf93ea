from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.contracts.events import DATA, EventType
from shared.messaging import outbox
from shared.messaging.cloudevents import Event, decode, encode
from shared.messaging.topology import EXCHANGE, QUEUES
from tools.asyncapi import document

DOCUMENT = document()
MESSAGES = DOCUMENT["components"]["messages"]
EVENTS = {message["name"]: message for message in MESSAGES.values() if message["name"] != "DeadLetter"}


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_each_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def test_each_type_of_event_has_a_channel_and_a_sender() -> None:
    sent = {
        operation["channel"]["$ref"].removeprefix("#/channels/")
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "send"
    }
    assert set(EVENTS) == sent == set(EventType)
    assert {DOCUMENT["channels"][type_]["bindings"]["amqp"]["exchange"]["name"] for type_ in sent} == {EXCHANGE}


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_each_queue_is_a_channel_with_its_arguments_and_bindings(queue: Any) -> None:
    channel = DOCUMENT["channels"][queue.name]
    assert channel["x-arguments"] == queue.arguments
    assert [binding["routingKey"] for binding in channel["x-bindings"]] == list(queue.types)
    assert queue.dead in DOCUMENT["channels"]


def test_a_message_holds_as_many_events_as_the_relay_sends_at_once() -> None:
    assert {message["payload"]["maxItems"] for message in EVENTS.values()} == {outbox._MESSAGE_EVENTS}


@pytest.mark.parametrize("type_", EventType)
def test_each_example_is_what_its_schema_says_and_what_a_consumer_takes(type_: EventType) -> None:
    message = EVENTS[type_]
    [example] = message["examples"]
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    [event] = example["payload"]

    assert [error.message for error in Draft202012Validator(schema).iter_errors(example["payload"])] == []
    assert DATA[type_].validate(event["data"]) == {}
    [read] = decode(encode([Event(event["id"], event["source"], type_, event["time"], None, event["data"])]))
    assert isinstance(read, Event)
