import gzip
import zlib
from collections.abc import Callable

import pytest

from gateway.routes import ROUTES
from tests.api import Api
from tests.integration import bad_input
from tests.integration.upstream import FakeService


async def test_a_wrong_request_reaches_no_service(gateway: Api, products: FakeService, orders: FakeService) -> None:
    assert await bad_input.refusals(gateway, bad_input.ALL) == bad_input.expected(bad_input.ALL)
    assert products.seen == orders.seen == []


GZIP = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "refused"),
    [(b"no gzip", (400, "invalid_json", [])), (gzip.compress(b" " * 10_000_000), (413, "payload_too_large", []))],
    ids=["no gzip", "grows too large"],
)
async def test_a_body_that_cannot_be_decompressed_is_refused(
    gateway: Api, orders: FakeService, body: bytes, refused: tuple[int, str, list[str]]
) -> None:
    answer = await gateway.request("POST", "/orders", data=body, headers=GZIP)

    assert answer.refusal == refused
    assert orders.seen == []


CODINGS: dict[tuple[str, ...], int] = {
    **dict.fromkeys([("gzip",), ("GZip",), ("deflate",), ("identity",), ("",)], 200),
    **dict.fromkeys([("foo",), ("br",), ("zstd",), ("x-gzip",), ("gzip, foo",), ("foo, gzip",)], 415),
    **dict.fromkeys([("gzip, gzip",), ("foo", "gzip"), ("gzip", "foo"), ("gzip;q=1",), ("ü",)], 415),
}
ENCODE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


async def test_only_a_coding_that_is_decoded_is_accepted(gateway: Api, orders: FakeService) -> None:
    """RFC 9110 §8.4: a body in another coding is not what its media type says. RFC 7694 §3 names those that are."""
    found = {}
    for lines in CODINGS:
        encode = ENCODE.get(lines[-1].lower(), bytes)
        headers = [("Content-Type", "application/json"), *(("Content-Encoding", line) for line in lines)]
        body = encode(b'{"productId": 7, "quantity": 1}')
        answer = await gateway.request("POST", "/orders", data=body, headers=headers)
        found[lines] = answer.status
        assert answer.headers.get("Accept-Encoding") == ("gzip, deflate" if answer.status == 415 else None)

    assert found == CODINGS
    forwarded = {(seen.body, seen.headers.get("Content-Encoding")) for seen in orders.seen}
    assert forwarded == {(b'{"productId": 7, "quantity": 1}', None)}


JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
# By RFC 9110 §15.5.16 and RFC 5789 §2.2. A merge patch of metadata would not replace them (RFC 7396).
ACCEPTED = {
    "POST /orders": {"Accept": JSON},
    "POST /products/7/stock": {"Accept": JSON},
    "PATCH /products/7": dict.fromkeys(("Accept", "Accept-Patch"), f"{JSON}, {MERGE_PATCH}"),
    "PATCH /orders/7": dict.fromkeys(("Accept", "Accept-Patch"), JSON),
}


async def test_a_refusal_names_the_media_types_that_are_accepted(gateway: Api, orders: FakeService) -> None:
    for line, accepted in ACCEPTED.items():
        for content_type in ("text/plain", "application/json-patch+json"):
            answer = await gateway.request(*line.split(), data=b"{}", headers={"Content-Type": content_type})
            named = {name: answer.headers[name] for name in ("Accept", "Accept-Patch") if name in answer.headers}
            assert (answer.status, named) == (415, accepted)


async def test_a_merge_patch_of_a_product_is_forwarded_and_null_is_refused(
    gateway: Api, products: FakeService
) -> None:
    headers = {"Content-Type": MERGE_PATCH}
    taken = await gateway.request("PATCH", "/products/7", data=b'{"name": "Lamp"}', headers=headers)
    refused = await gateway.request("PATCH", "/products/7", data=b'{"name": null}', headers=headers)
    other = await gateway.request("PATCH", "/orders/7", data=b'{"metadata": {"a": "b"}}', headers=headers)

    [seen] = products.seen
    assert (taken.status, seen.headers["Content-Type"], seen.body) == (200, MERGE_PATCH, b'{"name": "Lamp"}')
    assert refused.refusal == (400, "validation_error", ["name"])
    assert other.status == 415


async def test_a_condition_that_would_be_passed_over_is_refused(
    gateway: Api, products: FakeService, orders: FakeService
) -> None:
    """RFC 9110 §13.1: the request is not to be done unless it is true. So is a key that a PATCH does not take."""
    lines = [f"{route.method} {route.path}".replace("{id}", "7").replace("{productId}", "7") for route in ROUTES]
    found = {
        (line, name): (await gateway.request(*line.split(), headers={name: '"1"'})).refusal
        for line in lines
        for name in ("If-Match", "If-None-Match", "Idempotency-Key")
    }

    refused = {which for which, (status, _, fields) in found.items() if (status, fields) == (400, [which[1]])}
    unsafe = {line for line in lines if not line.startswith("GET")}
    assert refused == {
        *((line, "If-Match") for line in lines if line != "PATCH /products/7"),
        *((line, "If-None-Match") for line in unsafe),
        ("PATCH /orders/7", "Idempotency-Key"),
    }
    conditional = [
        seen for seen in (*products.seen, *orders.seen) if {"If-Match", "If-None-Match"} & set(seen.headers)
    ]
    assert {seen.method for seen in conditional} == {"GET"}


ALLOWED = {
    "DELETE /products": {"GET", "HEAD", "POST"},
    "PUT /products/7": {"GET", "HEAD", "PATCH"},
    "GET /products/7/stock": {"POST"},
    "POST /products/7/movements": {"GET", "HEAD"},
    "PUT /orders/7": {"GET", "HEAD", "PATCH"},
    "GET /orders/7/cancel": {"POST"},
    "GET /orders/7/confirm": {"POST"},
    "PUT /orders/7/hold": {"POST"},
    "DELETE /orders/7/history": {"GET", "HEAD"},
    "POST /orders/7/events": {"GET"},
    "HEAD /orders/7/events": {"GET"},
}


async def test_a_refusal_names_the_allowed_methods(gateway: Api, products: FakeService, orders: FakeService) -> None:
    answers = {line: await gateway.request(*line.split()) for line in ALLOWED}

    assert {line: (answer.status, set(answer.headers["Allow"].split(","))) for line, answer in answers.items()} == {
        line: (405, allowed) for line, allowed in ALLOWED.items()
    }
    assert products.seen == orders.seen == []
