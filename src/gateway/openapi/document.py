"""The OpenAPI 3.1 document of the gateway, made from its route table and the contracts' schemas."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from marshmallow import Schema

from gateway.openapi import examples
from gateway.openapi.components import Responses, any_headers, text
from gateway.openapi.headers import HEADERS, PARAMETERS, Json, header
from gateway.openapi.json_schema import Converter, specification
from gateway.openapi.responses import HistoryEntry, LivenessAnswer, Paged, ProductAnswer, ReadinessAnswer
from gateway.routes import ReadHeader, Route
from shared.contracts.fields import MAX_WAIT
from shared.errors import Code
from shared.pagination import MAX_ID
from shared.web.headers import read_idempotency_key, read_if_match, read_last_event_id

_TITLE = "Product & Order System"
_DESCRIPTION = """\
Products, their stock, and orders that take from it. Every answer has the same envelope; a refusal names its code and
the fields that are wrong. `traceId` finds each log line of a request, and of what it caused, in all services. GET
answers HEAD too, event streams excepted. Bodies and queries with fields that are not described are refused.
"""
_API_KEY = "apiKey"
_KEYS = "An API key with the scope that the operation names; not needed where the gateway was given no keys."
_TAGS = (
    {"name": "products", "description": "The catalogue and its stock."},
    {"name": "orders", "description": "Orders, from `pending` to `done`, `rejected` or `cancelled`."},
    {"name": "system", "description": "The gateway itself."},
)
_QUERY: Mapping[str, str] = MappingProxyType(
    {
        "limit": "How many a page holds.",
        "cursor": "Where the page begins: `page.next` of the page before.",
        "wait": f"How long to wait for an order that is still pending, in seconds, up to {MAX_WAIT}.",
        "status": "Only orders with this status.",
        "productId": "Only orders of this product.",
    }
)
# The parameter of a route that reads a header, and what such a route refuses because of it.
_STEERING: Mapping[ReadHeader, tuple[str, tuple[Code, ...]]] = MappingProxyType(
    {
        read_idempotency_key: ("IdempotencyKey", (Code.CONFLICT, Code.IDEMPOTENCY_MISMATCH)),
        read_if_match: ("IfMatch", (Code.PRECONDITION_FAILED,)),
        read_last_event_id: ("LastEventId", ()),
    }
)
_OF_A_BODY = (Code.INVALID_JSON, Code.REQUEST_TIMEOUT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
_OF_ANY_ROUTE = (
    Code.VALIDATION_ERROR,
    Code.RATE_LIMITED,
    Code.INTERNAL_ERROR,
    Code.UPSTREAM_ERROR,
    Code.UNAVAILABLE,
    Code.UPSTREAM_TIMEOUT,
)
_ANY_REQUEST = ("Traceparent", "RequestId")
_ID: Mapping[str, object] = MappingProxyType(
    {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID, "examples": [examples.ID]}
)
_CREATED = 201
_SELF = "/openapi.json"
_NAMES = re.compile(r"\{(\w+)\}")


def document(routes: Sequence[Route]) -> Json:
    """A function of the table alone, so that equal programs serve equal bytes."""
    spec, converter = specification(
        _TITLE,
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/", "description": "The gateway that serves this document"}],
        tags=list(_TAGS),
    )
    for name, parameter in PARAMETERS.items():
        spec.components.parameter(name, "header", parameter)
    for name, content in HEADERS.items():
        spec.components.header(name, content)
    spec.components.security_scheme(_API_KEY, {"type": "http", "scheme": "bearer", "description": _KEYS})
    responses = Responses(spec, converter)
    paths: defaultdict[str, Json] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = _of_route(route, routes, converter, responses)
    for path, operation in _of_the_gateway(responses):
        paths[path]["get"] = operation
    for path, operations in paths.items():
        spec.path(path, operations=operations)
    found: Json = spec.to_dict()
    return found


def _of_route(route: Route, routes: Iterable[Route], converter: Converter, responses: Responses) -> Json:
    told = route.operation
    answers = _stream(responses) if route.streamed else {str(told.status): _answer(route, routes, responses)}
    return {
        "operationId": told.id,
        "tags": [route.upstream],
        "summary": told.summary,
        **({"description": told.description} if told.description else {}),
        "parameters": [*_parameters(route, converter), *_ANY_REQUEST],
        **({"requestBody": _body(route.body, responses)} if route.body else {}),
        "responses": {**answers, **responses.refused(_refusals(route))},
        # Optional: a gateway without keys lets everybody in.
        **({"security": [{_API_KEY: [route.scope.value]}, {}]} if route.scope else {}),
    }


def _of_the_gateway(responses: Responses) -> Iterator[tuple[str, Json]]:
    """What it answers itself, all of it with GET."""
    live = responses.json(LivenessAnswer(), 200, "/health/live")
    ready = responses.json(ReadinessAnswer(), 200, "/health/ready")
    not_ready = responses.json(ReadinessAnswer(), 503, "/health/ready")
    metrics = text("text/plain", "Prometheus text format", examples.METRICS)
    this = {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}
    unchanged = {"description": "The client has it already"}
    tagged = {"headers": {**any_headers(), "ETag": header("DocumentTag")}}
    for path, operation, summary, answers in (
        ("/health/live", "isLive", "Say that the process lives", {"200": live}),
        ("/health/ready", "isReady", "Say whether to send it requests", {"200": ready, "503": not_ready}),
        ("/metrics", "getMetrics", "Show metrics", {"200": metrics}),
        ("/docs", "getDocs", "Show this document to people", {"200": text("text/html", "A page")}),
        (_SELF, "getOpenApi", "Show this document", {"200": this | tagged, "304": unchanged | tagged}),
    ):
        yield (
            path,
            {
                "operationId": operation,
                "tags": ["system"],
                "summary": summary,
                "parameters": [*(["IfNoneMatch"] if path == _SELF else []), *_ANY_REQUEST],
                "responses": {**answers, **responses.refused([Code.INTERNAL_ERROR])},
            },
        )


def _parameters(route: Route, converter: Converter) -> Iterator[Json | str]:
    for name in _NAMES.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": dict(_ID)}
    for attribute, field in route.query.fields.items():
        name = field.data_key or attribute
        schema = _never_null(converter.field2property(field))
        yield {"name": name, "in": "query", "description": _QUERY[name], "schema": schema}
    if route.header is not None:
        yield _STEERING[route.header][0]


def _body(schema: Schema, responses: Responses) -> Json:
    content = {"schema": responses.schema(schema), "example": examples.BODIES[type(schema)]}
    return {"required": True, "content": {"application/json": content}}


def _answer(route: Route, routes: Iterable[Route], responses: Responses) -> Json:
    told = route.operation
    answer = responses.json(told.answer, told.status, _NAMES.sub(str(examples.ID), route.path))
    if told.status == _CREATED:
        answer["headers"]["Location"] = header("Location")
        answer["links"] = _links(route, routes)
    if isinstance(told.answer, ProductAnswer):
        answer["headers"]["ETag"] = header("ProductTag")
    if isinstance(told.answer, Paged):
        answer["headers"]["Link"] = header("Next")
    if route.header is read_idempotency_key:
        answer["headers"]["Idempotency-Replayed"] = header("Replayed")
    return answer


def _stream(responses: Responses) -> Json:
    """The schema is that of an event: OpenAPI 3.1 has no place for the items of a stream, and readers of 3.1 agree."""
    entry = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": responses.schema(HistoryEntry()),
    }
    properties = {"id": {"type": "string", "pattern": "^[1-9][0-9]*$"}, "event": {"const": "status"}, "data": entry}
    event = {"type": "object", "properties": properties, "required": list(properties)}
    content = {"text/event-stream": {"schema": event, "example": examples.EVENT}}
    nothing = {"description": "Nothing is missing, and nothing more will come", "headers": any_headers()}
    return {
        "200": {"description": "An event for each status", "headers": any_headers(), "content": content},
        "204": nothing,
    }


def _refusals(route: Route) -> Iterator[Code]:
    yield from _OF_ANY_ROUTE
    yield from route.operation.refusals
    if route.scope is not None:
        yield from (Code.UNAUTHORIZED, Code.FORBIDDEN)
    if route.body is not None:
        yield from _OF_A_BODY
    if route.header is not None:
        yield from _STEERING[route.header][1]


def _links(created: Route, routes: Iterable[Route]) -> Json:
    """To what can be done with the new resource: the routes at its address and below, and those that filter by it."""
    singular = created.path.strip("/").removesuffix("s")
    places = (f"{created.path}/{{id}}", f"{{{singular}Id}}")
    return {
        route.operation.id: {
            "operationId": route.operation.id,
            "parameters": dict.fromkeys(_NAMES.findall(route.path), "$response.body#/data/id"),
        }
        for route in routes
        if any(place in route.path for place in places)
    }


def _never_null(schema: Json) -> Json:
    """A field that is None where it is missing takes null in JSON; a query cannot say it."""
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    if None in schema.get("enum", ()):
        schema["enum"].remove(None)
    return schema
