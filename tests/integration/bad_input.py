"""Requests that are wrong, and how each is to be refused: by the gateway, and by a service asked directly.

What is allowed in a field, a header or a cursor is tested with the schema that says so; here each route refuses some
of it, which shows that the route asks that schema.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.api import Api

JSON = {"Content-Type": "application/json"}

# The valid body of each route, and a wrong value of each of its fields; the last field is an unknown one.
BODIES: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
    "POST /products": (
        {"name": b'"Lamp"', "price": b"1", "qty": b"1"},
        {"name": b'""', "price": b"-0.01", "qty": b"1.0", "color": b'"red"'},
    ),
    "PATCH /products/1": ({"name": b'"Lamp"'}, {"name": b"7", "price": b"1.005", "qty": b"1", "version": b"1"}),
    "POST /products/1/stock": (
        {"delta": b"-1", "reason": b'"broken"'},
        {"delta": b"0", "reason": rb'"\ud800"', "qty": b"1"},
    ),
    "POST /orders": (
        {"productId": b"7", "quantity": b"1"},
        {"productId": b'"7"', "quantity": b"1000001", "price": b"1"},
    ),
    "PATCH /orders/1": ({"metadata": b"{}"}, {"metadata": b"null", "reference": b'"A-2"'}),
    "POST /orders/1/hold": ({"holdSeconds": b"900"}, {"holdSeconds": b"604801", "expiresAt": b"1"}),
}
_LINE = b'{"productId": 7, "quantity": 1}'
# Bodies of an order with lines or a hold, and the fields that are refused.
LINES: dict[str, tuple[bytes, list[str]]] = {
    "an empty line": (b'{"lines": [{}, %s]}' % _LINE, ["lines.0.productId", "lines.0.quantity"]),
    "a product twice": (
        b'{"lines": [%s, {"productId": 8, "quantity": 1}, %s]}' % (_LINE, _LINE),
        ["lines.2.productId"],
    ),
    "lines and a wrong hold": (b'{"lines": [%s], "holdSeconds": 0}' % _LINE, ["holdSeconds"]),
}
# Wrong values of a header; of two lines both are sent.
HEADERS = {
    **{
        route: ("Idempotency-Key", [["two words"], ["key", "key"]])
        for route in ("POST /products", "POST /products/1/stock", "POST /orders")
    },
    "PATCH /products/1": ("If-Match", [["1"], ["*", '"1"']]),
    "GET /orders/1/events": ("Last-Event-ID", [["x"], ["1", "1"]]),
}
LISTS = ["/products", "/products/1/movements", "/orders", "/orders/product/7"]
NO_LIMITS = ["0", "201", "1&limit=2"]
NO_CURSORS = ["", "made-up"]
WAITS = ["31", "1&wait=1"]
ID_PATHS = {
    **dict.fromkeys(["/products/{}", "/products/{}/movements"], "id"),
    **dict.fromkeys(["/orders/{}", "/orders/{}/history", "/orders/{}/events"], "id"),
    "/orders/product/{}": "productId",
}
NO_IDS = ["0", "abc", "9223372036854775808"]
NOT_ALLOWED = ["DELETE /products", "POST /products/1/movements", "PUT /orders"]
NOT_ALLOWED += [f"GET /orders/1/{action}" for action in ("cancel", "confirm", "hold")]


@dataclass(frozen=True, slots=True)
class Case:
    """A request, as options of aiohttp, and its refusal: status, code, refused fields."""

    method: str
    path: str
    status: int
    code: str
    fields: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


def of_path(path: str, *fields: str, method: str = "GET") -> Case:
    return Case(method, path, 400, "validation_error", list(fields))


def of_bodies(route: str) -> dict[str, Case]:
    """The bodies and headers that a route with a JSON body refuses."""
    method, path = route.split()
    valid, wrong = BODIES[route]
    body = whole(valid)
    missing = ["body"] if route == "PATCH /products/1" else sorted(valid)
    name, values = HEADERS.get(route, ("", []))
    cases: dict[str, tuple[str, int, str, list[str], dict[str, Any]]] = {
        "no JSON": (path, 400, "invalid_json", ["body"], {"data": b"name=Lamp", "headers": JSON}),
        "a member twice": (
            *(path, 400, "validation_error", ["name"]),
            {"data": b'{"name": "a", "name": "b"}', "headers": JSON},
        ),
        "an array": (path, 400, "validation_error", ["body"], {"data": b"[]", "headers": JSON}),
        "an empty object": (path, 400, "validation_error", missing, {"data": b"{}", "headers": JSON}),
        "too large": (path, 413, "payload_too_large", [], {"data": body + b" " * 65_536, "headers": JSON}),
        "as a form": (path, 415, "unsupported_media_type", [], {"data": {"name": "Lamp"}}),
        "as nothing": (
            *(path, 415, "unsupported_media_type", []),
            {"data": body, "skip_auto_headers": ["Content-Type"]},
        ),
        "with a query": (f"{path}?dry=1", 400, "validation_error", ["dry"], {"data": body, "headers": JSON}),
        **{
            f"{member}={value.decode()}": (
                *(path, 400, "validation_error", [member]),
                {"data": whole({**valid, member: value}), "headers": JSON},
            )
            for member, value in wrong.items()
        },
        **{
            f"{name}: {lines}": (
                *(path, 400, "validation_error", [name]),
                {"data": body, "headers": [*JSON.items(), *((name, line) for line in lines)]},
            )
            for lines in values
        },
    }
    return {f"{route} {title}": Case(method, *case) for title, case in cases.items()}


def whole(members: dict[str, bytes]) -> bytes:
    """The JSON object of these names and values."""
    return b"{" + b", ".join(b'"%s": %s' % (name.encode(), text) for name, text in members.items()) + b"}"


def _cases() -> dict[str, Case]:
    paths = [
        *(of_path(f"{path}?limit={value}", "limit") for path in LISTS for value in NO_LIMITS),
        *(of_path(f"{path}?cursor={value}", "cursor") for path in LISTS for value in NO_CURSORS),
        *(of_path(f"{path}?page=2", "page") for path in LISTS),
        *(of_path(path.format(value), name) for path, name in ID_PATHS.items() for value in NO_IDS),
        *(of_path(path.format(value), "path") for path in ID_PATHS for value in ("1%2F2", "%00")),
        *(of_path(f"/orders/1?wait={value}", "wait") for value in WAITS),
        of_path("/orders/1?waits=1", "waits"),
        of_path("/orders/1/history?limit=1", "limit"),
        of_path("/orders/1/events?wait=1", "wait"),
        of_path("/products/1?limit=1", "limit"),
        of_path("/orders?status=lost", "status"),
        of_path("/orders?productId=x&status=y&limit=z&cursor=!", "cursor", "limit", "productId", "status"),
        *(of_path(f"/orders/1/{action}?force=1", "force", method="POST") for action in ("cancel", "confirm")),
        *(
            of_path(f"/orders/{value}/{action}", "id", method="POST")
            for value in ("x", "0")
            for action in ("cancel", "confirm")
        ),
        *(Case(method, path, 405, "method_not_allowed") for method, path in map(str.split, NOT_ALLOWED)),
        Case("GET", "/nothing/here", 404, "not_found"),
    ]
    for method, path, content in (
        ("PATCH", "/products/0", BODIES["PATCH /products/1"][0]),
        ("POST", "/products/0/stock", BODIES["POST /products/1/stock"][0]),
        ("PATCH", "/orders/0", BODIES["PATCH /orders/1"][0]),
        ("POST", "/orders/0/hold", BODIES["POST /orders/1/hold"][0]),
    ):
        options = {"data": whole(content), "headers": JSON}
        paths.append(Case(method, path, 400, "validation_error", ["id"], options))
    name, values = HEADERS["GET /orders/1/events"]
    for lines in values:
        options = {"headers": [(name, line) for line in lines]}
        paths.append(Case("GET", "/orders/1/events", 400, "validation_error", [name], options))
    cases = {f"{case.method} {case.path} {case.options.get('headers')}": case for case in paths}
    assert len(cases) == len(paths)
    for route in BODIES:
        cases |= of_bodies(route)
    for title, (body, fields) in LINES.items():
        options = {"data": body, "headers": JSON}
        cases[f"POST /orders {title}"] = Case("POST", "/orders", 400, "validation_error", fields, options)
    return cases


ALL = _cases()
PRODUCTS = {title: case for title, case in ALL.items() if not case.path.startswith("/orders")}
ORDERS = {title: case for title, case in ALL.items() if not case.path.startswith("/products")}


def expected(cases: dict[str, Case]) -> dict[str, object]:
    return {title: (case.status, case.code, case.fields) for title, case in cases.items()}


async def refusals(api: Api, cases: dict[str, Case]) -> dict[str, object]:
    """The refusal of each request; an answer that is no envelope of its status is shown as it is."""
    found: dict[str, object] = {}
    for title, case in cases.items():
        answer = await api.request(case.method, case.path, **case.options)
        found[title] = answer.refusal if answer.is_envelope else answer.raw
    return found
