"""What the OpenAPI document cannot say of its values; loaded by Schemathesis, in a process of its own."""

import functools
import itertools
import re
from typing import Any

import requests
import schemathesis
from hypothesis import strategies

from shared.contracts.fields import MAX_HOLD, MAX_PRICE
from shared.pagination import MAX_ID, encode_cursor
from tools.documents.openapi.headers import PARAMETERS

# A cursor is opaque to clients: its pattern does not distinguish one that an answer gave from any other.
schemathesis.openapi.format("cursor", strategies.integers(1, MAX_ID).map(encode_cursor))

# Two of three are of an order that is held, which no other request leads to often enough.
_NEEDS_A_HOLD = itertools.cycle([True, True, False])
_HOLD_SECONDS = 2
# Parameters, and all that can be given beside them.
_ALONE = {"ids": (), "customerId": ("limit", "cursor"), "reference": ("limit", "cursor")}
# The noncharacters that no pattern can name for every dialect.
_NONCHARACTERS = re.compile(
    "[" + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(1, 17)) + "]"
)


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """What the API says in words: 1.0 is written as 1, the same to JSON Schema, and a price has two places.

    Each line has a product of its own. A hold ends soon, since the stream of its order is read until then.
    """
    if not isinstance(body, dict):
        return body
    for name in ("price", "unitPrice"):
        if isinstance(price := body.get(name), float) and 0 <= price <= MAX_PRICE:
            body = {**body, name: round(price, 2)}
    body = {name: int(value) if _is_whole(value) else value for name, value in body.items()}
    if isinstance(lines := body.get("lines"), list):
        body["lines"] = _each_once([map_body(_context, line) for line in lines])
    if type(seconds := body.get("holdSeconds")) is int and 1 <= seconds <= MAX_HOLD:
        body["holdSeconds"] = min(seconds, _HOLD_SECONDS)
    return body


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Follows no link from the `orderId` of a movement that no order made: null is the address of nothing.

    Nor does it combine parameters that the API says in words it does not take together.
    """
    return _is_taken(set(case.query or {})) and None not in (case.path_parameters or {}).values()


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _options: dict[str, Any]) -> None:
    """Names orders that are held where a hold is needed.

    Gives up the document's examples that fit one request only, or not each other: all others would be refused.
    """
    case.body = _printable(map_body(_context, case.body))
    case.query = _printable(case.query)
    if case.operation.path.endswith(("/confirm", "/hold")) and _is_an_id(case) and next(_NEEDS_A_HOLD):
        url = case.operation.schema.get_base_url().rstrip("/")
        case.path_parameters = {"id": _held_order(url)}
    if not _is_taken(set(case.query or {})):
        case.query = {name: value for name, value in case.query.items() if name not in _ALONE}
    if case.headers.get("Idempotency-Key") == _example("IdempotencyKey"):
        case.headers["Idempotency-Key"] = case.id
    if case.headers.get("If-Match") == _example("IfMatch"):
        case.headers["If-Match"] = "*"


def _printable(value: Any) -> Any:
    """The value, with a letter in the place of each noncharacter."""
    if isinstance(value, dict):
        return {_printable(name): _printable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_printable(inner) for inner in value]
    return _NONCHARACTERS.sub("x", value) if isinstance(value, str) else value


def _each_once(lines: list[Any]) -> list[Any]:
    """The lines, with other products in the place of those that come again."""
    seen: set[object] = set()
    for line in lines:
        if isinstance(line, dict) and type(product_id := line.get("productId")) is int:
            line["productId"] = MAX_ID - len(seen) if product_id in seen else product_id
            seen.add(line["productId"])
    return lines


def _is_an_id(case: schemathesis.Case[Any]) -> bool:
    given = str((case.path_parameters or {}).get("id"))
    return given.isdecimal() and 1 <= int(given) <= MAX_ID


def _held_order(url: str) -> int:
    held: dict[str, Any] = {"productId": _product(url), "quantity": 1, "holdSeconds": 60}
    order_id: int = requests.post(f"{url}/orders", json=held, timeout=10).json()["data"]["id"]
    requests.get(f"{url}/orders/{order_id}?wait=10", timeout=20)
    return order_id


@functools.cache
def _product(url: str) -> int:
    lamp: dict[str, Any] = {"name": "Lamp", "price": "1.00", "qty": 1_000}
    product_id: int = requests.post(f"{url}/products", json=lamp, timeout=10).json()["data"]["id"]
    return product_id


def _is_taken(query: set[str]) -> bool:
    return all(query <= {name, *others} for name, others in _ALONE.items() if name in query)


def _example(header: str) -> object:
    return PARAMETERS[header]["schema"]["examples"][0]


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()
