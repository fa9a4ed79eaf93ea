"""The AsyncAPI 3 document of the events, made from the topology and the schemas of their data."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apispec import APISpec

from gateway.openapi.json_schema import AMOUNT, Converter, specification
from shared.contracts.events import DATA, EventType
from shared.contracts.version import VERSION
from shared.messaging.cloudevents import CONTENT_TYPE
from shared.messaging.topology import EXCHANGE, QUEUES, Queue

Json = dict[str, Any]

_DESCRIPTION = """\
A message carries 1 to 256 events of one type as a CloudEvents 1.0 JSON batch; identity, trace, retry and dead letter \
belong to the event. `source` and `id` together name an event: one that comes again keeps both, and changes nothing. \
Readers pass over fields of `data` that they do not know.\
"""
# Who sends it; who receives it says the topology.
_SOURCES: Mapping[EventType, str] = MappingProxyType(
    {
        EventType.PRODUCT_CREATED: "products",
        EventType.PRODUCT_UPDATED: "products",
        EventType.ORDER_CREATED: "orders",
        EventType.ORDER_UPDATED: "products",
        EventType.ORDER_CANCELLED: "orders",
    }
)
_MOST_EVENTS = 256  # of a message (`shared.messaging.outbox`)
_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_EXAMPLES: Mapping[EventType, Json] = MappingProxyType(
    {
        EventType.PRODUCT_CREATED: {"productId": 42, "name": "Desk lamp", "price": "19.90"},
        EventType.PRODUCT_UPDATED: {"productId": 42, "name": "Desk lamp", "price": "17.50"},
        EventType.ORDER_CREATED: {"orderId": 7, "productId": 42, "quantity": 2},
        EventType.ORDER_UPDATED: {"orderId": 7, "productId": 42, "status": "done", "reason": None},
        EventType.ORDER_CANCELLED: {"orderId": 7, "productId": 42, "quantity": 2},
    }
)
_DEAD_LETTER: Json = {
    "name": "DeadLetter",
    "contentType": CONTENT_TYPE,
    "summary": "An event that could not be read or applied, as it came, and why",
    "headers": {
        "type": "object",
        "properties": {
            "x-reason": {"type": "string", "enum": ["unreadable", "failed"]},
            "x-error": {"type": "string"},
            "traceparent": {"type": "string", "description": "Of a readable event."},
        },
        "required": ["x-reason", "x-error"],
    },
    "payload": {"description": "What was in the place of the event."},
}


def document() -> Json:
    """A function of the topology and the schemas alone."""
    spec, converter = specification("Events of the Product & Order System", AMOUNT)
    messages = {_name(type_): _message(type_, converter) for type_ in EventType}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": spec.title,
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": {**messages, "DeadLetter": _DEAD_LETTER}, "schemas": _schemas(spec)},
    }


def _channels() -> Json:
    channels = {type_.value: _exchange(type_) for type_ in EventType}
    for queue in QUEUES:
        channels[queue.name] = _queue(queue.name, queue.arguments, [_name(type_) for type_ in queue.types])
        channels[queue.name]["x-bindings"] = [{"exchange": EXCHANGE, "routingKey": key.value} for key in queue.types]
        channels[queue.dead] = _queue(queue.dead, queue.dead_arguments, ["DeadLetter"])
    return channels


def _exchange(type_: EventType) -> Json:
    exchange = {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": type_.value,
        "messages": _components([_name(type_)]),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _queue(name: str, arguments: Json, messages: list[str]) -> Json:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": name,
        "messages": _components(messages),
        "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}},
        "x-arguments": arguments,
    }


def _operations() -> Json:
    """As the services see them."""
    delivery = {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}}
    operations: Json = {
        f"send{_name(type_)}": {
            "action": "send",
            "summary": f"{source} tells of it",
            "channel": _channel(type_.value),
            "bindings": delivery,
        }
        for type_, source in _SOURCES.items()
    }
    for queue in QUEUES:
        operations[f"receive.{queue.name}"] = {"action": "receive", **_consumer(queue)}
    return operations


def _consumer(queue: Queue) -> Json:
    consumer, _, _ = queue.name.partition(".")
    return {
        "summary": f"{consumer} applies it",
        "channel": _channel(queue.name),
        "bindings": {"amqp": {"ack": True, "bindingVersion": "0.3.0"}},
    }


def _message(type_: EventType, converter: Converter) -> Json:
    event = {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"const": f"/{_SOURCES[type_]}"},
            "type": {"const": type_.value},
            "time": {"type": "string", "format": "date-time"},
            "traceparent": {"type": "string", "description": "W3C trace context of what caused the event."},
            "data": converter.resolve_nested_schema(DATA[type_]),  # type: ignore[no-untyped-call]  # apispec's own
        },
        "required": ["specversion", "id", "source", "type", "time", "data"],
    }
    return {
        "name": type_.value,
        "contentType": CONTENT_TYPE,
        "payload": {"type": "array", "minItems": 1, "maxItems": _MOST_EVENTS, "items": event},
        "examples": [{"payload": [_example(type_)]}],
    }


def _example(type_: EventType) -> Json:
    return {
        "specversion": "1.0",
        "id": "7",
        "source": f"/{_SOURCES[type_]}",
        "type": type_.value,
        "time": "2026-11-23T09:15:02.318745Z",
        "traceparent": _TRACEPARENT,
        "data": _EXAMPLES[type_],
    }


def _schemas(spec: APISpec) -> Json:
    schemas: Json = spec.to_dict()["components"]["schemas"]
    return schemas


def _name(type_: EventType) -> str:
    return type_.value.title().replace(".", "")


def _components(messages: list[str]) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def _channel(name: str) -> Json:
    return {"$ref": f"#/channels/{name}"}
