import pytest
from jsonschema import Draft202012Validator

from shared.contracts.events import DATA, EventType
from shared.messaging.cloudevents import Event, decode, encode
from shared.messaging.topology import EXCHANGE
from tools.asyncapi import document

DOCUMENT = document()
MESSAGES = DOCUMENT["components"]["messages"]
EVENTS = {message["name"]: message for message in MESSAGES.values() if message["name"] != "DeadLetter"}


def test_each_type_of_event_has_a_channel_and_a_sender() -> None:
    sent = {
        operation["channel"]["$ref"].removeprefix("#/channels/")
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "send"
    }
    assert set(EVENTS) == sent == set(EventType)
    assert {DOCUMENT["channels"][type_]["bindings"]["amqp"]["exchange"]["name"] for type_ in sent} == {EXCHANGE}


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
