"""The headers of requests and answers, as components of the OpenAPI document."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.openapi import examples

Json = dict[str, Any]

_TAG = r'(W/)?"[!#-~\u0080-\u00ff]*"'

# Request headers, by component name.
PARAMETERS: Mapping[str, Json] = MappingProxyType(
    {
        "Traceparent": {
            "name": "traceparent",
            "description": "W3C trace context. A valid one is continued, an invalid one replaced; its trace id is the "
            "`traceId` of the answer.",
            "schema": {"type": "string", "examples": [examples.TRACEPARENT]},
        },
        "RequestId": {
            "name": "X-Request-ID",
            "description": "Comes back in the answer if it is 1 to 128 of the characters `A-Za-z0-9._:/+=@-`; a new "
            "one does otherwise.",
            "schema": {"type": "string", "examples": [examples.REQUEST_ID]},
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "description": "Makes the request safe to repeat: with the same key and the same body it is done once, "
            "and the first answer comes again, for a day at least. With another body it is refused (422), and while "
            "the first is still at work, too (409).",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": [examples.IDEMPOTENCY_KEY]},
        },
        "IfMatch": {
            "name": "If-Match",
            "description": "The ETags of the versions that may be changed; `*` and nothing at all stand for any.",
            "schema": {
                "anyOf": [
                    {"type": "string", "const": "*"},
                    {"type": "string", "pattern": rf"^[ \t,]*({_TAG}([ \t]*,[ \t,]*{_TAG})*[ \t,]*)?$"},
                ],
                "examples": [examples.ENTITY_TAG],
            },
        },
        "LastEventId": {
            "name": "Last-Event-ID",
            "description": "The id of the last event that the client has.",
            "schema": {"type": "string", "pattern": "^[0-9]{0,9}$", "examples": ["1"]},
        },
        "IfNoneMatch": {
            "name": "If-None-Match",
            "description": "The ETag of the version that the client has.",
            "schema": {"type": "string"},
        },
    }
)

# Response headers, by component name; `required` where every such answer has them.
HEADERS: Mapping[str, Json] = MappingProxyType(
    {
        "RequestId": {
            "description": "The request's own id, or the one that it was given.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@-]{1,128}$"},
        },
        "Location": {
            "description": "Where the new resource is.",
            "required": True,
            "schema": {"type": "string", "pattern": "^/(products|orders)/[1-9][0-9]*$"},
        },
        "ProductTag": {
            "description": "The product's version, for `If-Match`.",
            "required": True,
            "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
        },
        "DocumentTag": {
            "description": "Of this very document.",
            "required": True,
            "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'},
        },
        "Next": {
            "description": "The address of the next page, where there is one (RFC 8288).",
            "schema": {"type": "string", "pattern": '^<[^<>]+>; rel="next"$'},
        },
        "Replayed": {
            "description": "Given if this is the first answer again.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "Challenge": {
            "description": "What the request lacks (RFC 6750 §3).",
            "required": True,
            "schema": {"type": "string", "pattern": "^Bearer "},
        },
        "RetryAfter": {
            "description": "Seconds until it is worth another try.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
    }
)


def header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}
