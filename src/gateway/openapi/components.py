"""Responses of the OpenAPI document: an envelope around its data, a text, or a refusal that operations share."""

import inspect
from collections.abc import Iterable
from http import HTTPStatus

from apispec import APISpec
from marshmallow import Schema

from gateway.openapi import examples
from gateway.openapi.headers import Json, header
from gateway.openapi.json_schema import Converter
from gateway.openapi.responses import Envelope, Failure
from shared.errors import Code


class Responses:
    """Schemas and refusals become components of `spec` when they are first asked for."""

    def __init__(self, spec: APISpec, converter: Converter) -> None:
        self._spec = spec
        self._converter = converter
        self._refusals: set[str] = set()

    def schema(self, schema: Schema) -> Json:
        """A reference to it."""
        found: Json = self._converter.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]  # apispec's own
        return found

    def json(self, schema: Envelope, status: int, path: str) -> Json:
        """`path` is that of the example."""
        content = {
            "schema": _with_status(status, self.schema(schema)),
            "example": examples.answer(schema, status, path),
        }
        return {
            "description": inspect.getdoc(schema) or "",
            "headers": any_headers(),
            "content": {"application/json": content},
        }

    def refused(self, codes: Iterable[Code]) -> Json:
        """By status: references to refusals that may carry these codes."""
        responses = {}
        for status, of_status in _by_status(codes).items():
            name = "Or".join(code.value.title().replace("_", "") for code in of_status)
            if name not in self._refusals:
                self._refusals.add(name)
                self._spec.components.response(name, self._refusal(status, of_status))
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
        return responses

    def _refusal(self, status: int, codes: list[Code]) -> Json:
        headers = any_headers()
        if Code.UNAVAILABLE in codes or Code.RATE_LIMITED in codes:
            headers["Retry-After"] = header("RetryAfter")
        if Code.UNAUTHORIZED in codes or Code.FORBIDDEN in codes:
            headers["WWW-Authenticate"] = header("Challenge")
        error = {"properties": {"code": {"enum": [code.value for code in codes]}}}
        content = {
            "schema": _with_status(status, self.schema(Failure()), {"error": error}),
            "examples": {code.value: {"value": examples.failure(code)} for code in codes},
        }
        return {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
            "headers": headers,
            "content": {"application/json": content},
        }


def text(content_type: str, description: str, example: str | None = None) -> Json:
    content: Json = {"schema": {"type": "string"}, **({"example": example} if example else {})}
    return {"description": description, "headers": any_headers(), "content": {content_type: content}}


def any_headers() -> Json:
    """Of every answer."""
    return {"X-Request-ID": header("RequestId")}


def _with_status(status: int, envelope: Json, more: Json | None = None) -> Json:
    """The envelope, with what this status makes certain."""
    return {"allOf": [envelope, {"properties": {"statusCode": {"const": status}, **(more or {})}}]}


def _by_status(codes: Iterable[Code]) -> dict[int, list[Code]]:
    """In the order of the error table."""
    wanted = set(codes)
    statuses: dict[int, list[Code]] = {}
    for code in Code:
        if code in wanted:
            statuses.setdefault(code.status, []).append(code)
    return statuses
