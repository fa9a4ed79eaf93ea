"""The headers of requests and answers, as components of the OpenAPI document."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tools.documents.openapi.json_schema import Json

_TAG = r'(W/)?"[!#-~\u0080-\u00ff]*"'
_TAGS = rf"^(\*|[ \t,]*({_TAG}([ \t]*,[ \t,]*{_TAG})*[ \t,]*)?)$"


def _parameter(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "description": description, "schema": schema}


def _header(description: str, **schema: Any) -> Json:
    return {"description": description, "required": True, "schema": {"type": "string", **schema}}


def _optional(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


# Request headers, by component name.
PARAMETERS: Mapping[str, Json] = MappingProxyType(
    {
        "Traceparent": _parameter(
            "traceparent",
            "W3C trace context; an invalid one is replaced. Its trace id is the `traceId` of the answer.",
            type="string",
            examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        ),
        "RequestId": _parameter(
            "X-Request-ID",
            "The answer repeats it if it is 1 to 128 of the characters `A-Za-z0-9._:/+=@-`, else it has a new one.",
            type="string",
            examples=["checkout-7f3a"],
        ),
        "IdempotencyKey": _parameter(
            "Idempotency-Key",
            "Makes the request safe to repeat: for at least a day, a repeat with the same body gets the first answer.",
            type="string",
            pattern="^[!-~]{1,255}$",
            examples=["0191e1f4-5e4c-7f2a-9d3b-8a6f5c2e1d70"],
        ),
        "IfMatch": _parameter(
            "If-Match",
            "The ETags of the versions that may be changed. Any version may be changed if the header is `*` or empty.",
            type="string",
            pattern=_TAGS,
            examples=['"1"'],
        ),
        "LastEventId": _parameter(
            "Last-Event-ID",
            "The id of the last event that the client has received.",
            type="string",
            pattern="^[0-9]{0,9}$",
            examples=["1"],
        ),
        "IfNoneMatch": _parameter("If-None-Match", "The ETag of the version that the client has.", type="string"),
    }
)

# Response headers, by component name.
HEADERS: Mapping[str, Json] = MappingProxyType(
    {
        "RequestId": _header(
            "The request's own `X-Request-ID`, or a new one.", pattern="^[A-Za-z0-9._:/+=@-]{1,128}$"
        ),
        "Location": _header(
            "The path of the new resource, with the prefix of the proxy if there is one.",
            pattern="^(/[^/]+)*/(products|orders)/[1-9][0-9]*$",
        ),
        "ProductTag": _header("The product's version, for `If-Match`.", pattern='^"[0-9]+"$'),
        "OrderTag": _header("Changes with the order's data.", pattern='^W/"[0-9a-f]+"$'),
        "DocumentTag": _header("The version of this document.", pattern='^"[0-9a-f]+"$'),
        "Next": {
            "description": "The address of the next page, if there is one (RFC 8288).",
            "schema": {"type": "string", "pattern": '^<[^<>]+>; rel="next"$'},
        },
        "Replayed": {
            "description": "Present if the answer is that of an earlier request with the same `Idempotency-Key`.",
            "schema": {"type": "string", "enum": ["true"]},
        },
        "Challenge": _header("What the request lacks (RFC 6750 §3).", pattern="^Bearer "),
        "Accept": _optional("The media types that are accepted, if that of the request is not (RFC 9110 §15.5.16)."),
        "Codings": _optional("The content codings that are accepted, if that of the request is not (RFC 7694)."),
        "RetryAfter": _header("The seconds to wait before another try.", type="integer", minimum=1),
    }
)
