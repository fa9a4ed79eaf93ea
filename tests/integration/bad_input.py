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


def of_body(path: str, content: bytes, status: int, code: str, *fields: str) -> Case:
    return Case("POST", path, status, code, list(fields), {"data": content, "headers": JSON})


def of_field(path: str, valid: dict[str, bytes], name: str, value: bytes) -> Case:
    """A body with one wrong value."""
    members = b", ".join(b'"%s": %s' % (key.encode(), text) for key, text in {**valid, name: value}.items())
    return of_body(path, b"{" + members + b"}", 400, "validation_error", name)


def of_path(path: str, *fields: str) -> Case:
    return Case("GET", path, 400, "validation_error", list(fields))


PRODUCT = {"name": b'"Lamp"', "price": b"1", "qty": b"1"}
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
WRONG_ORDER_FIELDS = {
    "productId": [b"0", b"-1", b"9223372036854775808", b'"7"', b"7.0", b"true", b"null", b"{}"],
    "quantity": [b"0", b"-1", b"1000001", b"1.5", b'"1"', b"false", b"null"],
    "price": [b"1"],
}


def of_bodies(path: str, valid: dict[str, bytes], wrong: dict[str, list[bytes]]) -> dict[str, Case]:
    """What no `POST` with a JSON body accepts."""
    whole = b"{" + b", ".join(b'"%s": %s' % (key.encode(), text) for key, text in valid.items()) + b"}"
    missing = sorted(valid)
    cases = {
        "no JSON": of_body(path, b"name=Lamp", 400, "invalid_json"),
        "nothing": of_body(path, b"", 400, "invalid_json"),
        "cut off": of_body(path, whole[:-1], 400, "invalid_json"),
        "two documents": of_body(path, whole + whole, 400, "invalid_json"),
        "NaN": of_body(path, b'{"price": NaN, "quantity": NaN}', 400, "invalid_json"),
        "Infinity": of_body(path, b'{"price": -Infinity, "quantity": Infinity}', 400, "invalid_json"),
        "no UTF-8": of_body(path, b'{"name": "\xff"}', 400, "invalid_json"),
        "a number of 5000 digits": of_body(path, b'{"price": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        "nested too deeply": of_body(path, DEEP, 400, "invalid_json"),
        "an array": of_body(path, b"[" + whole + b"]", 400, "validation_error", "body"),
        "null": of_body(path, b"null", 400, "validation_error", "body"),
        "an empty object": of_body(path, b"{}", 400, "validation_error", *missing),
        "too large": of_body(path, whole + b" " * 65_536, 413, "payload_too_large"),
        "as text": Case(
            "POST", path, 415, "unsupported_media_type", [], {"data": whole, "headers": {"Content-Type": "text/plain"}}
        ),
        "as a form": Case("POST", path, 415, "unsupported_media_type", [], {"data": {"name": "Lamp"}}),
        "as nothing": Case(
            "POST", path, 415, "unsupported_media_type", [], {"data": whole, "skip_auto_headers": ["Content-Type"]}
        ),
        "with a query": of_body(f"{path}?dry=1", whole, 400, "validation_error", "dry"),
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
        "1%2F2",
        "%00",
        "7%20",
    )
    return {f"GET {path} {value}": of_path(path.format(value), name) for value in values}


NO_ROUTE = {
    "no such path": Case("GET", "/nothing/here", 404, "not_found"),
    "a path below": Case("GET", "/", 404, "not_found"),
}
PRODUCTS = {
    **of_bodies("/products", PRODUCT, WRONG_PRODUCT_FIELDS),
    **of_list("/products"),
    **of_id("/products/{}", "id"),
    **NO_ROUTE,
    "DELETE /products": Case("DELETE", "/products", 405, "method_not_allowed"),
    "PUT /products/1": Case("PUT", "/products/1", 405, "method_not_allowed"),
}
ORDERS = {
    **of_bodies("/orders", ORDER, WRONG_ORDER_FIELDS),
    **of_list("/orders"),
    **of_list("/orders/product/7"),
    **of_id("/orders/{}", "id"),
    **of_id("/orders/product/{}", "productId"),
    **NO_ROUTE,
    "GET /orders?status": of_path("/orders?status=lost", "status"),
    "GET /orders?productId": of_path("/orders?productId=x&status=done", "productId"),
    "GET /orders all wrong": of_path(
        "/orders?productId=x&status=y&limit=z&cursor=!", "cursor", "limit", "productId", "status"
    ),
    "DELETE /orders": Case("DELETE", "/orders", 405, "method_not_allowed"),
    "POST /orders/1": Case("POST", "/orders/1", 405, "method_not_allowed"),
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
