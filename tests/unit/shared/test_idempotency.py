import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.requests import CreateProduct
from shared.idempotency import key_of
from shared.web.requests import decode, load

PRODUCT = {"name": "Teapot", "price": "19.90", "qty": 5}
CONTENTS = st.fixed_dictionaries(
    {"name": st.text(st.characters(codec="utf-8")), "qty": st.integers(0, 3), "price": st.sampled_from("012")}
)


def hash_of(content: dict[str, Any], operation: str = "POST /products") -> bytes:
    key = key_of("k", operation, content)
    assert key is not None
    assert key.value == "k"
    return key.request_hash


def hash_of_body(body: str) -> bytes:
    return hash_of(load(CreateProduct(), decode(body.encode())))


@pytest.mark.parametrize(
    "body",
    [
        '{"qty": 5, "price": "19.90", "name": "Teapot"}',
        '\n{"name":"\\u0054eapot","price":"19.9","qty":5}\t',
        '{"name": "Teapot", "price": 19.90, "qty": 5}',
        '{"name": "Teapot", "price": 1.99e1, "qty": 5}',
        '\ufeff{"name": "Teapot", "price": "19.90", "qty": 5}',
    ],
)
def test_how_the_json_is_written_makes_no_difference(body: str) -> None:
    assert hash_of_body(body) == hash_of_body(json.dumps(PRODUCT))


@given(CONTENTS, CONTENTS, st.permutations(["name", "qty", "price"]))
def test_only_other_content_is_a_new_request(content: dict[str, Any], other: dict[str, Any], names: list[str]) -> None:
    assert (content == other) == (hash_of(content) == hash_of(other))
    assert hash_of(content) == hash_of({name: content[name] for name in names})


def test_another_operation_and_another_field_make_another_request() -> None:
    operations = ["POST /products", "POST /orders", "POST /products/1/stock", "POST /products/2/stock"]
    contents: list[dict[str, Any]] = [{}, {"name": ""}, {"name": None}, {"name": "None"}]
    hashes = [hash_of(PRODUCT, operation) for operation in operations] + [hash_of(content) for content in contents]
    assert len(set(hashes)) == 8
