import pytest
from jsonschema import Draft202012Validator

from shared.contracts.events import DATA, EventType
from shared.messaging.cloudevents import Event, decode, encode
from shared.messaging.topology import EXCHANGE
from tools.documents.asyncapi import document

DOCUMENT = document()
MESSAGES = DOCUMENT["components"]["messages"]
EVENTS = {message["name"]: message for message in MESSAGES.values() if message["name"] != "DeadLetter"}


def validator(type_: EventType) -> Draft202012Validator:
    return Draft202012Validator({**EVENTS[type_]["payload"], "components": DOCUMENT["components"]})


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
    examples = {example["name"]: example["payload"] for example in EVENTS[type_]["examples"]}

    for payload in examples.values():
        assert [error.message for error in validator(type_).iter_errors(payload)] == []
        [event] = payload
        assert DATA[type_].load(event["data"])
        [read] = decode(encode([Event(event["id"], event["source"], type_, event["time"], None, event["data"])]))
        assert isinstance(read, Event)
    assert len(examples) == {"product": 1, "order": 2}[type_.partition(".")[0]] + (type_ == EventType.ORDER_UPDATED)


@pytest.mark.parametrize("type_", [type_ for type_ in EventType if type_.startswith("order.")])
def test_its_schema_takes_an_event_in_both_forms_and_none_in_neither(type_: EventType) -> None:
    examples = {example["name"]: example["payload"] for example in EVENTS[type_]["examples"]}
    [one], [several] = examples["oneProduct"], examples["severalProducts"]
    both = {**one["data"], **several["data"]}
    neither = {name: value for name, value in one["data"].items() if name != "productId"}

    assert validator(type_).is_valid([{**one, "data": both}])
    assert not validator(type_).is_valid([{**one, "data": neither}])
