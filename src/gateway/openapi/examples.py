"""Requests and answers to look at in `/openapi.json`; a test holds each against its schema."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from marshmallow import Schema

from gateway.openapi.responses import (
    Envelope,
    HistoryAnswer,
    LivenessAnswer,
    MovementsPage,
    OrderAnswer,
    OrdersPage,
    Paged,
    ProductAnswer,
    ProductsPage,
    ReadinessAnswer,
)
from shared.contracts import requests
from shared.errors import Code
from shared.pagination import encode_cursor

ID = 42
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST_ID = "checkout-7f3a"
ENTITY_TAG = '"1"'
IDEMPOTENCY_KEY = "0191e1f4-5e4c-7f2a-9d3b-8a6f5c2e1d70"

_TRACE_ID = TRACEPARENT.split("-")[1]
_BEGUN = "2026-11-23T09:15:02.318745Z"
_ENDED = "2026-11-23T09:15:02.341207Z"

_PRODUCT = {
    "id": ID,
    "name": "Desk lamp",
    "price": "19.90",
    "qty": 100,
    "version": 1,
    "createdAt": _BEGUN,
    "updatedAt": _BEGUN,
}
_ORDER = {
    "id": ID,
    "productId": ID,
    "quantity": 2,
    "unitPrice": "19.90",
    "totalPrice": "39.80",
    "status": "pending",
    "reason": None,
    "traceId": _TRACE_ID,
    "createdAt": _BEGUN,
    "updatedAt": _BEGUN,
}
_HISTORY = [
    {"status": "pending", "reason": None, "traceId": _TRACE_ID, "createdAt": _BEGUN},
    {"status": "done", "reason": None, "traceId": _TRACE_ID, "createdAt": _ENDED},
]
_MOVEMENTS = [
    {"id": 2, "kind": "reserve", "delta": -2, "orderId": ID, "reason": None, "createdAt": _ENDED},
    {"id": 1, "kind": "initial", "delta": 100, "orderId": None, "reason": None, "createdAt": _BEGUN},
]

BODIES: Mapping[type[Schema], Any] = MappingProxyType(
    {
        requests.CreateProduct: {"name": "Desk lamp", "price": "19.90", "qty": 100},
        requests.ChangeProduct: {"price": "17.50"},
        requests.AdjustStock: {"delta": -3, "reason": "damaged in the warehouse"},
        requests.CreateOrder: {"productId": ID, "quantity": 2},
    }
)
_DATA: Mapping[type[Envelope], Any] = MappingProxyType(
    {
        ProductAnswer: _PRODUCT,
        ProductsPage: [_PRODUCT],
        MovementsPage: _MOVEMENTS,
        OrderAnswer: _ORDER,
        OrdersPage: [_ORDER],
        HistoryAnswer: _HISTORY,
        LivenessAnswer: {"status": "live"},
        ReadinessAnswer: {"status": "ready", "checks": {"products": "ok", "orders": "ok"}},
    }
)
_MESSAGES: Mapping[Code, str] = MappingProxyType(
    {
        Code.INVALID_JSON: "The body is not valid JSON",
        Code.VALIDATION_ERROR: "The request is not valid",
        Code.UNAUTHORIZED: "This needs an API key",
        Code.FORBIDDEN: "The API key lacks the scope orders:write",
        Code.NOT_FOUND: f"There is no product {ID}",
        Code.REQUEST_TIMEOUT: "The body did not arrive in time",
        Code.CONFLICT: "A request with this Idempotency-Key is in progress",
        Code.PRECONDITION_FAILED: "The product was changed meanwhile",
        Code.PAYLOAD_TOO_LARGE: "The body is larger than 64 KiB",
        Code.UNSUPPORTED_MEDIA_TYPE: "The body must be application/json",
        Code.IDEMPOTENCY_MISMATCH: "The Idempotency-Key was used for another request",
        Code.RATE_LIMITED: "Too many requests",
        Code.INTERNAL_ERROR: "The request could not be completed; the logs tell why under this trace id",
        Code.UPSTREAM_ERROR: "orders gave no usable answer",
        Code.UNAVAILABLE: "orders cannot be reached",
        Code.UPSTREAM_TIMEOUT: "orders did not answer in time",
    }
)

EVENT = {"id": "1", "event": "status", "data": orjson.dumps(_HISTORY[0]).decode()}
METRICS = 'http_request_duration_seconds_count{method="POST",route="/orders",status="201"} 7.0\n'


def answer(schema: Envelope, status: int, path: str) -> dict[str, Any]:
    page = {"page": {"limit": 1, "next": encode_cursor(ID)}} if isinstance(schema, Paged) else {}
    return {"statusCode": status, "data": _DATA[type(schema)], **page, **_origin(path)}


def failure(code: Code) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": _MESSAGES[code]}
    if code is Code.VALIDATION_ERROR:
        error["details"] = [{"field": "id", "message": "Must be an integer from 1 to 9223372036854775807."}]
    return {"statusCode": code.status, "data": None, "error": error, **_origin(f"/products/{ID}")}


def _origin(path: str) -> dict[str, str]:
    return {"traceId": _TRACE_ID, "timestamp": _ENDED, "path": path}
