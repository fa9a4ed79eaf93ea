"""What the OpenAPI document cannot say of its values; loaded by Schemathesis, in a process of its own."""

from typing import Any

import schemathesis
from hypothesis import strategies

from shared.contracts.fields import MAX_PRICE
from shared.pagination import MAX_ID, encode_cursor
from tools.openapi.headers import PARAMETERS

# A cursor is opaque to clients: its pattern does not distinguish one that an answer gave from any other.
schemathesis.openapi.format("cursor", strategies.integers(1, MAX_ID).map(encode_cursor))


# Parameters, and all that can be given beside them.
_ALONE = {"ids": (), "customerId": ("limit", "cursor"), "reference": ("limit", "cursor")}


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """What the API says in words: 1.0 is written as 1, the same to JSON Schema, and a price has two places."""
    if not isinstance(body, dict):
        return body
    for name in ("price", "unitPrice"):
        if isinstance(price := body.get(name), float) and 0 <= price <= MAX_PRICE:
            body = {**body, name: round(price, 2)}
    return {name: int(value) if _is_whole(value) else value for name, value in body.items()}


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Follows no link from the `orderId` of a movement that no order made: null is the address of nothing.

    Nor does it combine parameters that the API says in words it does not take together.
    """
    return _is_taken(set(case.query or {})) and None not in (case.path_parameters or {}).values()


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _options: dict[str, Any]) -> None:
    """Gives up the document's examples that fit one request only, or not each other: all others would be refused."""
    if not _is_taken(set(case.query or {})):
        case.query = {name: value for name, value in case.query.items() if name not in _ALONE}
    if case.headers.get("Idempotency-Key") == _example("IdempotencyKey"):
        case.headers["Idempotency-Key"] = case.id
    if case.headers.get("If-Match") == _example("IfMatch"):
        case.headers["If-Match"] = "*"


def _is_taken(query: set[str]) -> bool:
    return all(query <= {name, *others} for name, others in _ALONE.items() if name in query)


def _example(header: str) -> object:
    return PARAMETERS[header]["schema"]["examples"][0]


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()
