import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.requests import CreateProduct
from shared.errors import AppError, Code
from shared.idempotency import InProgress, Key, key_of
from shared.web.requests import decode, load

PRODUCT = {"name": "Teapot", "price": "19.90", "qty": 5}
KEY = Key("k", b"1")
CONTENTS = st.fixed_dictionaries(
    {"name": st.text(st.characters(codec="utf-8")), "qty": st.integers(0, 3), "price": st.sampled_from("012")}
)


def hash_of(content: dict[str, Any], operation: str = "POST /products") -> bytes:
    key = key_of("k", operation, content)
    assert key is not None
    return key.request_hash


def hash_of_body(body: str) -> bytes:
    return hash_of(load(CreateProduct(), decode(body.encode())))


def test_a_request_without_a_key_is_not_hashed() -> None:
    assert key_of(None, "POST /products", PRODUCT) is None


@pytest.mark.parametrize(
    "body",
    [
        '{"qty": 5, "price": "19.90", "name": "Teapot"}',
        '{"name":"Teapot","price":"19.90","qty":5}',
        '\n{"name": "\\u0054eapot", "price": "19.9", "qty": 5}\t',
        '{"name": "Teapot", "price": 19.90, "qty": 5}',
        '{"name": "Teapot", "price": 1.99e1, "qty": 5}',
        '{"qty": 7, "name": "Teapot", "price": "19.90", "qty": 5}',
    ],
)
def test_how_the_json_is_written_makes_no_difference(body: str) -> None:
    assert hash_of_body(body) == hash_of_body(json.dumps(PRODUCT))


@given(CONTENTS, CONTENTS)
def test_any_other_content_is_another_request(content: dict[str, Any], other: dict[str, Any]) -> None:
    assert (content == other) == (hash_of(content) == hash_of(other))


@given(CONTENTS, st.permutations(["name", "qty", "price"]))
def test_the_order_of_the_fields_makes_no_difference(content: dict[str, Any], names: list[str]) -> None:
    assert hash_of(content) == hash_of({name: content[name] for name in names})


def test_the_same_content_for_another_operation_is_another_request() -> None:
    operations = ["POST /products", "POST /orders", "POST /products/1/stock", "POST /products/2/stock"]
    assert len({hash_of(PRODUCT, operation) for operation in operations}) == 4


def test_a_field_that_is_missing_is_not_one_that_is_empty() -> None:
    contents: list[dict[str, Any]] = [{}, {"name": ""}, {"name": None}, {"name": "None"}]
    assert len({hash_of(content) for content in contents}) == 4


def test_an_amount_is_hashed_as_it_is_written() -> None:
    assert hash_of({"price": Decimal("19.90")}) != hash_of({"price": Decimal("19.91")})


def test_a_key_takes_its_own_request_only() -> None:
    KEY.check(b"1")
    with pytest.raises(AppError) as refusal:
        KEY.check(b"2")
    assert refusal.value.code is Code.IDEMPOTENCY_MISMATCH


def test_a_second_request_with_a_key_is_refused_while_the_first_is_at_work() -> None:
    in_progress = InProgress()
    with in_progress.claim(KEY):
        for second in (KEY, Key("k", b"another request")):
            with pytest.raises(AppError) as refusal, in_progress.claim(second):
                pass
            assert (refusal.value.code, refusal.value.retry_after) == (Code.CONFLICT, 1)
        with in_progress.claim(Key("another key", b"1")):
            pass


def test_a_refused_second_does_not_free_the_first() -> None:
    in_progress = InProgress()
    with in_progress.claim(KEY):
        for _ in range(2):
            with pytest.raises(AppError), in_progress.claim(KEY):
                pass


@pytest.mark.parametrize("failure", [None, ValueError, KeyboardInterrupt])
def test_a_key_is_free_again_after_success_and_after_failure(failure: type[BaseException] | None) -> None:
    in_progress = InProgress()
    if failure is None:
        with in_progress.claim(KEY):
            pass
    else:
        with pytest.raises(failure), in_progress.claim(KEY):
            raise failure
    with in_progress.claim(KEY):
        pass
