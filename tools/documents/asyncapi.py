"""The AsyncAPI 3 document of the events, made from the topology and the schemas of their data."""

from shared.contracts.events import DATA, EventType, Reason, Shortage
from shared.messaging.cloudevents import CONTENT_TYPE
from shared.messaging.topology import BESIDE_ARGUMENTS, EXCHANGE, QUEUES, Queue
from tools.documents.openapi.headers import PARAMETERS
from tools.documents.openapi.json_schema import AMOUNT, Converter, Json, specification

_DESCRIPTION = """\
A message carries 1 to 256 events of one type as a CloudEvents 1.0 JSON batch; identity, trace, retry and dead letter \
belong to the event. `source` and `id` together name an event: one that is delivered again keeps both and changes \
nothing. Readers ignore the fields of `data` that they do not know.\
"""
_SOURCES = {type_: queue.sender for queue in QUEUES for type_ in queue.types}
_MOST_EVENTS = 256  # in a message (`shared.messaging.outbox`)
_BINDING_VERSION = "0.3.0"
_DEAD_LETTER: Json = {
    "name": "DeadLetter",
    "contentType": CONTENT_TYPE,
    "summary": "An event that could not be read or applied, or is parked for a newer release, and the reason",
    "headers": {
        "type": "object",
        "properties": {
            "x-reason": {"type": "string", "enum": ["unreadable", "failed", "newer"]},
            "x-error": {"type": "string"},
            "traceparent": {"type": "string", "description": "The trace of the event, if it is known."},
        },
        "required": ["x-reason", "x-error"],
    },
    "payload": {"description": "What stood in the place of the event."},
}


def document() -> Json:
    """Depends on the topology and the schemas alone."""
    spec, converter = specification("Events of the Product & Order System", AMOUNT)
    messages = {_name(type_): _message(type_, converter) for type_ in EventType}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": spec.title,
            "version": spec.version,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {**messages, "DeadLetter": _DEAD_LETTER},
            "schemas": spec.to_dict()["components"]["schemas"],
        },
    }


def _channels() -> Json:
    exchange = {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    channels = {
        type_.value: _channel(type_.value, [_name(type_)], {"is": "routingKey", "exchange": exchange})
        for type_ in EventType
    }
    for queue in QUEUES:
        bindings = [{"exchange": EXCHANGE, "routingKey": key.value} for key in queue.types]
        messages = [_name(type_) for type_ in queue.types]
        channels[queue.name] = _queue(queue.name, messages, queue.arguments) | {"x-bindings": bindings}
        for name in queue.beside:
            channels[name] = _queue(name, ["DeadLetter"], BESIDE_ARGUMENTS)
    return channels


def _queue(name: str, messages: list[str], arguments: Json) -> Json:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return _channel(name, messages, {"is": "queue", "queue": queue}) | {"x-arguments": arguments}


def _channel(address: str, messages: list[str], binding: Json) -> Json:
    return {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": _amqp(binding),
    }


def _operations() -> Json:
    """From the point of view of the services."""
    delivery = _amqp({"deliveryMode": 2, "mandatory": True})
    sent = {
        f"send{_name(type_)}": _operation("send", type_.value, f"{_SOURCES[type_]} reports it", delivery)
        for type_ in EventType
    }
    received = {f"receive.{queue.name}": _received(queue) for queue in QUEUES}
    return sent | received


def _received(queue: Queue) -> Json:
    return _operation("receive", queue.name, f"{queue.consumer} applies it", _amqp({"ack": True}))


def _operation(action: str, channel: str, summary: str, bindings: Json) -> Json:
    return {"action": action, "summary": summary, "channel": {"$ref": f"#/channels/{channel}"}, "bindings": bindings}


def _message(type_: EventType, converter: Converter) -> Json:
    schema = DATA[type_]
    known = {"specversion": "1.0", "source": f"/{_SOURCES[type_]}", "type": type_.value}
    event = {
        "type": "object",
        "properties": {
            **{name: {"const": value} for name, value in known.items()},
            "id": {"type": "string", "minLength": 1},
            "time": {"type": "string", "format": "date-time"},
            "traceparent": {"type": "string", "description": "The W3C trace context of what caused the event."},
            "data": converter.reference(schema),
        },
        "required": ["specversion", "id", "source", "type", "time", "data"],
    }
    common = {
        **known,
        "id": "7",
        "time": "2026-11-23T09:15:02.318745Z",
        "traceparent": PARAMETERS["Traceparent"]["schema"]["examples"][0],
    }
    examples = converter.examples(schema)
    if type_ is EventType.ORDER_UPDATED:
        rejected = {"status": "rejected", "reason": Reason.INSUFFICIENT_STOCK.value}
        examples["rejected"] = examples["oneProduct"] | rejected | {"shortages": [converter.example(Shortage())]}
    return {
        "name": type_.value,
        "contentType": CONTENT_TYPE,
        "payload": {"type": "array", "minItems": 1, "maxItems": _MOST_EVENTS, "items": event},
        "examples": [{"name": name, "payload": [common | {"data": data}]} for name, data in examples.items()],
    }


def _name(type_: EventType) -> str:
    return type_.value.title().replace(".", "")


def _amqp(binding: Json) -> Json:
    return {"amqp": {**binding, "bindingVersion": _BINDING_VERSION}}
