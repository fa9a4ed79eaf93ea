"""Requests that are wrong, and how each is to be refused: by the gateway, and by a service asked directly."""

from dataclasses import dataclass, field
from typing import Any

from tests.api import Api

JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 30_000 + b"]" * 30_000


@dataclass(frozen=True, slots=True)
class Case:
    """A request, as options of aiohttp, and its refusal: status, code, refused fields."""

    method: str
    path: str
    status: int
    code: str
    fields: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def of_body(path: str, content: bytes, status: int, code: str, *fields: str, method: str = "POST") -> Case:
    return Case(method, path, status, code, list(fields), {"data": content, "headers": JSON})


def of_field(path: str, valid: dict[str, bytes], name: str, value: bytes, method: str = "POST") -> Case:
    """A body with one wrong value."""
    return of_body(path, whole({**valid, name: value}), 400, "validation_error", name, method=method)


def of_path(path: str, *fields: str, method: str = "GET") -> Case:
    return Case(method, path, 400, "validation_error", list(fields))


def whole(members: dict[str, bytes]) -> bytes:
    """The JSON object of these names and values."""
    return b"{" + b", ".join(b'"%s": %s' % (name.encode(), text) for name, text in members.items()) + b"}"


PRODUCT = {"name": b'"Lamp"', "price": b"1", "qty": b"1"}
CHANGE = {"name": b'"Lamp"'}
ADJUSTMENT = {"delta": b"-1", "reason": b'"broken"'}
ORDER = {"productId": b"7", "quantity": b"1"}

WRONG_PRODUCT_FIELDS = {
    "name": [b'""', b'" "', b'"' + b"x" * 201 + b'"', b"7", b"null", b"true", b'["Lamp"]', rb'"\u0000"', rb'"\ud800"'],
    "price": [
        *(b"-0.01", b"1.005", b"1e3000", b"1e-400", b"1e999999999", b"10000000000", b"9" * 4000),
        *(b'"1.005"', b'"1,50"', b'""', b'"NaN"', b'"1e3"', b"true", b"null", b"[]"),
    ],
    "qty": [b"-1", b"2147483648", b"1.5", b"1.0", b'"1"', b"true", b"null", b"1e3", b"[1]"],
    "color": [b'"red"'],
}
WRONG_CHANGE_FIELDS = {
    "name": WRONG_PRODUCT_FIELDS["name"],
    "price": WRONG_PRODUCT_FIELDS["price"],
    "qty": [b"1"],
    "version": [b"1"],
}
WRONG_ADJUSTMENT_FIELDS = {
    "delta": [b"0", b"-0", b"2147483648", b"-2147483648", b"1.5", b"1.0", b'"1"', b"true", b"null", b"1e3", b"[1]"],
    "reason": WRONG_PRODUCT_FIELDS["name"],
    "qty": [b"1"],
}
WRONG_ORDER_FIELDS = {
    "productId": [b"0", b"-1", b"9223372036854775808", b'"7"', b"7.0", b"true", b"null", b"{}"],
    "quantity": [b"0", b"-1", b"1000001", b"1.5", b'"1"', b"false", b"null"],
    "price": [b"1"],
}


def of_changes() -> dict[str, Case]:
    """What `PATCH` does not accept; how its body is read is no other than of `POST`."""
    path = "/products/1"
    cases = {
        "no JSON": of_body(path, b"name=Lamp", 400, "invalid_json", method="PATCH"),
        "an empty object": of_body(path, b"{}", 400, "validation_error", "body", method="PATCH"),
        "an array": of_body(path, b"[]", 400, "validation_error", "body", method="PATCH"),
        "as a form": Case("PATCH", path, 415, "unsupported_media_type", [], {"data": {"name": "Lamp"}}),
        "with a query": of_body(f"{path}?dry=1", whole(CHANGE), 400, "validation_error", "dry", method="PATCH"),
        "of no id": of_body("/products/0", whole(CHANGE), 400, "validation_error", "id", method="PATCH"),
    }
    for name, values in WRONG_CHANGE_FIELDS.items():
        for value in values:
            cases[f"{name}={value[:20].decode()}"] = of_field(path, CHANGE, name, value, "PATCH")
    return {f"PATCH {path} {title}": case for title, case in cases.items()}


def of_bodies(path: str, valid: dict[str, bytes], wrong: dict[str, list[bytes]]) -> dict[str, Case]:
    """What no `POST` with a JSON body accepts."""
    body = whole(valid)
    missing = sorted(valid)
    cases = {
        "no JSON": of_body(path, b"name=Lamp", 400, "invalid_json"),
        "nothing": of_body(path, b"", 400, "invalid_json"),
        "cut off": of_body(path, body[:-1], 400, "invalid_json"),
        "two documents": of_body(path, body + body, 400, "invalid_json"),
        "NaN": of_body(path, b'{"price": NaN, "quantity": NaN}', 400, "invalid_json"),
        "Infinity": of_body(path, b'{"price": -Infinity, "quantity": Infinity}', 400, "invalid_json"),
        "no UTF-8": of_body(path, b'{"name": "\xff"}', 400, "invalid_json"),
        "a number of 5000 digits": of_body(path, b'{"price": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        "nested too deeply": of_body(path, DEEP, 400, "invalid_json"),
        "an array": of_body(path, b"[" + body + b"]", 400, "validation_error", "body"),
        "null": of_body(path, b"null", 400, "validation_error", "body"),
        "an empty object": of_body(path, b"{}", 400, "validation_error", *missing),
        "too large": of_body(path, body + b" " * 65_536, 413, "payload_too_large"),
        "as text": Case(
            "POST", path, 415, "unsupported_media_type", [], {"data": body, "headers": {"Content-Type": "text/plain"}}
        ),
        "as a form": Case("POST", path, 415, "unsupported_media_type", [], {"data": {"name": "Lamp"}}),
        "as nothing": Case(
            "POST", path, 415, "unsupported_media_type", [], {"data": body, "skip_auto_headers": ["Content-Type"]}
        ),
        "with a query": of_body(f"{path}?dry=1", body, 400, "validation_error", "dry"),
    }
    for name, values in wrong.items():
        for value in values:
            cases[f"{name}={value[:20].decode()}"] = of_field(path, valid, name, value)
    return {f"POST {path} {title}": case for title, case in cases.items()}


def of_list(path: str) -> dict[str, Case]:
    """What no list accepts."""
    limits = [of_path(f"{path}?limit={value}", "limit") for value in ("0", "201", "-1", "1.5", "ten", "", "%EF%BC%91")]
    cursors = [of_path(f"{path}?cursor={value}", "cursor") for value in ("", "made-up", "AAAA", "%00", "x" * 500, "ü")]
    other = [of_path(f"{path}?limit=1&limit=2", "limit"), of_path(f"{path}?page=2", "page")]
    return {f"GET {case.path}": case for case in (*limits, *cursors, *other)}


def of_id(path: str, name: str) -> dict[str, Case]:
    """What is no id, in the place of `{}`."""
    values = (
        "0",
        "-1",
        "abc",
        "1.0",
        "+1",
        "1e3",
        "9223372036854775808",
        "9" * 40,
        "%EF%BC%97",
        "7%20",
    )
    of_values = {f"GET {path} {value}": of_path(path.format(value), name) for value in values}
    of_paths = {f"GET {path} {value}": of_path(path.format(value), "path") for value in ("1%2F2", "%00")}
    return {**of_values, **of_paths}


NO_ROUTE = {
    "no such path": Case("GET", "/nothing/here", 404, "not_found"),
    "a path below": Case("GET", "/", 404, "not_found"),
}
PRODUCTS = {
    **of_bodies("/products", PRODUCT, WRONG_PRODUCT_FIELDS),
    **of_changes(),
    **of_bodies("/products/1/stock", ADJUSTMENT, WRONG_ADJUSTMENT_FIELDS),
    "POST /products/0/stock": of_body("/products/0/stock", whole(ADJUSTMENT), 400, "validation_error", "id"),
    **of_list("/products"),
    **of_list("/products/1/movements"),
    **of_id("/products/{}", "id"),
    **of_id("/products/{}/movements", "id"),
    **NO_ROUTE,
    "DELETE /products": Case("DELETE", "/products", 405, "method_not_allowed"),
    "PUT /products/1": Case("PUT", "/products/1", 405, "method_not_allowed"),
    "GET /products/1/stock": Case("GET", "/products/1/stock", 405, "method_not_allowed"),
    "POST /products/1/movements": Case("POST", "/products/1/movements", 405, "method_not_allowed"),
}
ORDERS = {
    **of_bodies("/orders", ORDER, WRONG_ORDER_FIELDS),
    **of_list("/orders"),
    **of_list("/orders/product/7"),
    **of_id("/orders/{}", "id"),
    **of_id("/orders/{}/history", "id"),
    **of_id("/orders/{}/events", "id"),
    **of_id("/orders/product/{}", "productId"),
    **{
        f"GET /orders/1{query}": of_path(f"/orders/1{query}", "wait")
        for query in ("?wait=31", "?wait=-1", "?wait=x", "?wait=", "?wait=1.5", "?wait=%EF%BC%91", "?wait=1&wait=1")
    },
    "GET /orders/1?waits": of_path("/orders/1?waits=1", "waits"),
    "GET /orders/1/history?limit": of_path("/orders/1/history?limit=1", "limit"),
    "GET /orders/1/events?wait": of_path("/orders/1/events?wait=1", "wait"),
    "POST /orders/1/cancel?force": of_path("/orders/1/cancel?force=1", "force", method="POST"),
    "POST /orders/x/cancel": of_path("/orders/x/cancel", "id", method="POST"),
    "POST /orders/0/cancel": of_path("/orders/0/cancel", "id", method="POST"),
    **NO_ROUTE,
    "GET /orders?status": of_path("/orders?status=lost", "status"),
    "GET /orders?productId": of_path("/orders?productId=x&status=done", "productId"),
    "GET /orders all wrong": of_path(
        "/orders?productId=x&status=y&limit=z&cursor=!", "cursor", "limit", "productId", "status"
    ),
    "DELETE /orders": Case("DELETE", "/orders", 405, "method_not_allowed"),
    "POST /orders/1": Case("POST", "/orders/1", 405, "method_not_allowed"),
    "GET /orders/1/cancel": Case("GET", "/orders/1/cancel", 405, "method_not_allowed"),
    "POST /orders/1/history": Case("POST", "/orders/1/history", 405, "method_not_allowed"),
    "POST /orders/1/events": Case("POST", "/orders/1/events", 405, "method_not_allowed"),
}


def expected(cases: dict[str, Case]) -> dict[str, object]:
    return {title: (case.status, case.code, case.fields) for title, case in cases.items()}


async def refusals(api: Api, cases: dict[str, Case]) -> dict[str, object]:
    """What each request got; an answer that is no envelope of its status is told as it is."""
    found: dict[str, object] = {}
    for title, case in cases.items():
        answer = await api.request(case.method, case.path, **case.options)
        body = answer.body
        whole = body["statusCode"] == answer.status and body["data"] is None and len(body["traceId"]) == 32
        found[title] = answer.refusal if whole else answer.raw
    return found
