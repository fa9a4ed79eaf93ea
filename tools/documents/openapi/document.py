"""The OpenAPI 3.1 document of the gateway, made from its route table, the operations, and the schemas of both."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
from marshmallow import Schema

from gateway.headers import API_KEY
from gateway.routes import ReadHeader, Route
from shared.errors import Code
from shared.pagination import MAX_ID
from shared.web.connection import SAFE
from shared.web.headers import read_idempotency_key, read_if_match, read_if_none_match, read_last_event_id
from shared.web.requests import media_types
from tools.documents.openapi import responses
from tools.documents.openapi.headers import HEADERS, PARAMETERS
from tools.documents.openapi.json_schema import Json, specification
from tools.documents.openapi.operations import OPERATIONS, Operation

_TITLE = "Product & Order System"
_DESCRIPTION = """\
Products, their stock, and orders that take from it. Every answer has the same envelope; a refusal names its code and
the fields that are wrong. `traceId` finds each log line of a request, and of all that it caused, in all services. HEAD
is answered wherever GET is, except for event streams. A body or a query with a field that is not described is refused.
"""
_KEYS = "An API key with the scope that the operation names; a gateway that is configured without keys needs none."
_SCHEMES: Mapping[str, Json] = MappingProxyType(
    {
        "apiKey": {"type": "http", "scheme": "bearer"},
        "apiKeyHeader": {"type": "apiKey", "in": "header", "name": API_KEY},
    }
)
_ORDERS = """\
Orders of one or several products; each gets all of its lines or none. An order is `pending` until the product service
has decided, and then `done` or `rejected`. With a hold it is `held` instead of `done`, until it is confirmed (`done`)
or its time is over (`expired`). What is `pending`, `held` or `done` can be `cancelled`.
"""
_TAGS = (
    {"name": "products", "description": "The catalogue and its stock."},
    {"name": "orders", "description": _ORDERS},
    {"name": "system", "description": "The gateway itself."},
)
# By the function that reads a header of a route: the component of the parameter, and the refusals that follow from it.
_HEADER: Mapping[ReadHeader, tuple[str, tuple[Code, ...]]] = MappingProxyType(
    {
        read_idempotency_key: ("IdempotencyKey", (Code.IDEMPOTENCY_MISMATCH,)),
        read_if_match: ("IfMatch", (Code.PRECONDITION_FAILED,)),
        read_if_none_match: ("IfNoneMatch", ()),
        read_last_event_id: ("LastEventId", ()),
    }
)
_BODY_REFUSALS = (Code.INVALID_JSON, Code.REQUEST_TIMEOUT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
_FAILURES = (Code.INTERNAL_ERROR, Code.UPSTREAM_ERROR, Code.UNAVAILABLE, Code.UPSTREAM_TIMEOUT)
_COMMON_PARAMETERS = ("Traceparent", "RequestId")
_ID_EXAMPLE = 42
_ID: Mapping[str, object] = MappingProxyType(
    {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID, "examples": [_ID_EXAMPLE]}
)
_JSON = "application/json"
_STRING = {"type": "string"}
_METRICS = 'http_request_duration_seconds_count{method="POST",route="/orders",status="201"} 7.0\n'
_NAMES = re.compile(r"\{(\w+)\}")


def document(routes: Sequence[Route], *, strict: bool = False) -> Json:
    """Depends on the tables alone, so that equal programs serve equal bytes.

    With `strict` each answer has a schema of its own, with its status and codes, and each event of a stream has one:
    our tests hold the system to that. Generators of clients would make a class of each, or fail at it.
    """
    return _Document(routes, strict).complete()


class _Document:
    """Collects the operations; schemas and refusals become components when an operation first needs them."""

    def __init__(self, routes: Sequence[Route], strict: bool) -> None:
        self._routes = routes
        self._strict = strict
        self._spec, self._converter = specification(
            _TITLE,
            info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
            # Relative to the place of the document (OpenAPI 3.1 §4.8.5), since a proxy may serve it under a prefix.
            servers=[{"url": ".", "description": "The gateway that serves this document"}],
            tags=list(_TAGS),
        )

    def complete(self) -> Json:
        components = self._spec.components
        for name, parameter in PARAMETERS.items():
            components.parameter(name, "header", parameter)
        for name, content in HEADERS.items():
            components.header(name, content)
        for name, scheme in _SCHEMES.items():
            components.security_scheme(name, {**scheme, "description": _KEYS})
        paths: defaultdict[str, Json] = defaultdict(dict)
        for route in self._routes:
            paths[route.path][route.method.lower()] = self._forwarded(route)
        for path, operation in self._own():
            paths[path]["get"] = operation
        for path, operations in paths.items():
            self._spec.path(path, operations=operations)
        found: Json = self._spec.to_dict()
        return found

    def _forwarded(self, route: Route) -> Json:
        operation = _operation(route)
        return {
            "operationId": operation.id,
            "tags": [route.upstream],
            "summary": operation.summary,
            **({"description": operation.description} if operation.description else {}),
            "parameters": [*self._parameters(route), *_COMMON_PARAMETERS],
            **({"requestBody": self._body(route.body, route.method)} if route.body else {}),
            "responses": {**self._success(route), **self._refused(_refusals(route))},
            # Optional, since a gateway without keys lets every client in.
            **({"security": [*({each: [route.scope.value]} for each in _SCHEMES), {}]} if route.scope else {}),
        }

    def _own(self) -> Iterator[tuple[str, Json]]:
        """The operations that the gateway answers itself, all of them GET, by their paths."""
        live = self._json(responses.LivenessAnswer(), 200, "/health/live")
        ready, not_ready = (self._json(responses.ReadinessAnswer(), status, "/health/ready") for status in (200, 503))
        metrics = _answer(
            "The metrics in the text format of Prometheus, or in OpenMetrics for those who ask for it",
            {
                "text/plain": {"schema": _STRING, "example": _METRICS},
                "application/openmetrics-text": {"schema": _STRING, "example": f"{_METRICS}# EOF\n"},
            },
        )
        page = _answer("A page that shows this document", {"text/html": {"schema": _STRING}})
        itself = _answer("This document", {_JSON: {"schema": {"type": "object"}}}, ETag="DocumentTag")
        unchanged = _answer("The client has this version already", ETag="DocumentTag")
        for path, operation, summary, parameters, answers in (
            ("/health/live", "isLive", "Show whether the process is alive", (), {"200": live}),
            ("/health/ready", "isReady", "Show whether it can take requests", (), {"200": ready, "503": not_ready}),
            ("/metrics", "getMetrics", "Show metrics", (), {"200": metrics}),
            ("/docs", "getDocs", "Show this document as a page", (), {"200": page}),
            ("/openapi.json", "getOpenApi", "Show this document", ("IfNoneMatch",), {"200": itself, "304": unchanged}),
        ):
            described = {
                "operationId": operation,
                "tags": ["system"],
                "summary": summary,
                "parameters": [*parameters, *_COMMON_PARAMETERS],
                "responses": {**answers, **self._refused([Code.INTERNAL_ERROR])},
            }
            yield path, described

    def _parameters(self, route: Route) -> Iterator[Json | str]:
        for name in _NAMES.findall(route.path):
            yield {"name": name, "in": "path", "schema": dict(_ID)}
        for attribute, field in route.query.fields.items():
            schema = _never_null(self._converter.field2property(field))
            description = schema.pop("description")
            yield {"name": field.data_key or attribute, "in": "query", "description": description, "schema": schema}
        yield from (_HEADER[read][0] for read in route.headers if read in _HEADER)

    def _body(self, schema: Schema, method: str) -> Json:
        examples = {name: {"value": value} for name, value in self._converter.examples(schema).items()}
        shown = {"examples": examples} if len(examples) > 1 else {"example": examples["example"]["value"]}
        content = {each: {"schema": schema, **shown} for each in media_types(method, schema)}
        return {"required": True, "content": content}

    def _success(self, route: Route) -> Json:
        if route.streamed:
            return {"200": self._stream(), "204": _answer("No event is missing, and no more will come")}
        operation = _operation(route)
        answer = self._json(operation.answer, operation.status, _NAMES.sub(str(_ID_EXAMPLE), route.path))
        headers = answer["headers"]
        if operation.status == HTTPStatus.CREATED:
            headers["Location"] = "Location"
            answer["links"] = self._links(route)
        if isinstance(operation.answer, responses.ProductAnswer):
            headers["ETag"] = "ProductTag"
        if isinstance(operation.answer, responses.Paged):
            headers["Link"] = "Next"
        if read_idempotency_key in route.headers:
            headers["Idempotency-Replayed"] = "Replayed"
        if read_if_none_match in route.headers:
            headers["ETag"] = "OrderTag"
            return {"200": answer, "304": _answer("The client has the order as it is", ETag="OrderTag")}
        return {str(operation.status): answer}

    def _json(self, schema: responses.Envelope, status: int, path: str) -> Json:
        """An answer with this envelope, described by its data or by an item of them; `path` is that of the example."""
        data: Any = schema.fields["data"]
        described = inspect.getdoc(getattr(data, "inner", data).schema) or ""
        example = {"statusCode": status, **self._converter.example(schema), "path": path}
        return self._envelope(status, schema, described, example=example)

    def _envelope(
        self, status: int, schema: Schema, description: str, more: Json | None = None, **examples: Any
    ) -> Json:
        """An answer with this envelope; in a strict document it is narrowed to this status and to `more`."""
        narrowed = {"properties": {"statusCode": {"const": status}, **(more or {})}}
        content = {"schema": {"allOf": [schema, narrowed]} if self._strict else schema, **examples}
        return _answer(description, {_JSON: content})

    def _stream(self) -> Json:
        """A strict schema describes one event: OpenAPI 3.1 has no other place for the items of a stream."""
        entry = responses.HistoryEntry()
        data = {"type": "string", "contentMediaType": _JSON, "contentSchema": self._converter.reference(entry)}
        properties = {"id": {"type": "string", "pattern": "^[1-9][0-9]*$"}, "event": {"const": "status"}, "data": data}
        event = {"type": "object", "properties": properties, "required": list(properties)}
        example = {"id": "1", "event": "status", "data": orjson.dumps(self._converter.example(entry)).decode()}
        text = "".join(f"{name}: {value}\n" for name, value in example.items()) + "\n"
        shown = {"schema": event, "example": example} if self._strict else {"schema": _STRING, "example": text}
        description = "Server-sent events, one for each status; `data` is JSON with the schema `HistoryEntry`"
        return _answer(description, {"text/event-stream": shown})

    def _links(self, created: Route) -> Json:
        """What can be done with the new resource: the routes at its path and below it, and those that filter by it."""
        singular = created.path.strip("/").removesuffix("s")
        places = (f"{created.path}/{{id}}", f"{{{singular}Id}}")
        return {
            _operation(route).id: {
                "operationId": _operation(route).id,
                "parameters": dict.fromkeys(_NAMES.findall(route.path), "$response.body#/data/id"),
            }
            for route in self._routes
            if any(place in route.path for place in places)
        }

    def _refused(self, refusals: Iterable[Code]) -> Mapping[str, str]:
        """The components of the refusals by their status; a refusal may carry one of several codes."""
        wanted = set(refusals)
        by_status: defaultdict[int, list[Code]] = defaultdict(list)
        for code in Code:
            if code in wanted:
                by_status[code.status].append(code)
        return {str(status): self._refusal(status, codes) for status, codes in by_status.items()}

    def _refusal(self, status: int, codes: list[Code]) -> str:
        name = "Or".join(code.value.title().replace("_", "") for code in codes)
        if name not in self._spec.components.responses:
            response = self._envelope(
                status,
                responses.Failure(),
                " ".join(f"{code.meaning} (`{code}`)." for code in codes),
                {
                    "data": {"type": "null"},
                    "error": {"properties": {"code": {"enum": [code.value for code in codes]}}},
                },
                examples={code.value: {"value": self._failure(code)} for code in codes},
            )
            if Code.UNAVAILABLE in codes or Code.RATE_LIMITED in codes:
                response["headers"]["Retry-After"] = "RetryAfter"
            if Code.UNAUTHORIZED in codes or Code.FORBIDDEN in codes:
                response["headers"]["WWW-Authenticate"] = "Challenge"
            if Code.UNSUPPORTED_MEDIA_TYPE in codes:
                response["headers"] |= {"Accept": "Accept", "Accept-Patch": "Accept", "Accept-Encoding": "Codings"}
            self._spec.components.response(name, response)
        return name

    def _failure(self, code: Code) -> Json:
        error: Json = {"code": code.value, "message": code.meaning}
        if code is Code.VALIDATION_ERROR:
            error["details"] = [self._converter.example(responses.FieldError())]
        if code is Code.INVALID_JSON:
            error["details"] = [{"field": "body", "message": "Expecting value at line 1, column 15."}]
        return {"statusCode": code.status, **self._converter.example(responses.Failure()), "error": error}


def _answer(description: str, content: Json | None = None, **headers: str) -> Json:
    """An answer with the header that every answer has, and others by their components."""
    answer = {"description": description, "headers": {"X-Request-ID": "RequestId", **headers}}
    return {**answer, "content": content} if content else answer


def _operation(route: Route) -> Operation:
    return OPERATIONS[f"{route.method} {route.path}"]


def _refusals(route: Route) -> Iterator[Code]:
    yield from (Code.VALIDATION_ERROR, Code.RATE_LIMITED, *_FAILURES, *_operation(route).refusals)
    if route.method not in SAFE:
        yield Code.OUTCOME_UNKNOWN
    if route.scope is not None:
        yield from (Code.UNAUTHORIZED, Code.FORBIDDEN)
    if "{id}" in route.path:
        yield Code.NOT_FOUND
    if route.body is not None:
        yield from _BODY_REFUSALS
    for read in route.headers:
        yield from _HEADER.get(read, ("", ()))[1]


def _never_null(schema: Json) -> Json:
    """Removes the null of a field that loads as None if it is missing: no query can spell it."""
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    if None in schema.get("enum", ()):
        schema["enum"].remove(None)
    return schema
