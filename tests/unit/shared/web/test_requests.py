import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.requests import CreateOrder, CreateProduct
from shared.errors import AppError, Code, Detail
from shared.web import responses
from shared.web.requests import decode, load

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)

NOT_JSON = {
    "white space": b" \n",
    "words": b"quantity=2",
    "half an object": b'{"quantity": 2',
    "single quotes": b"{'quantity': 2}",
    "a trailing comma": b'{"quantity": 2,}',
    "Infinity": b'{"price": Infinity}',
    "a leading zero": b'{"price": 01}',
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(AppError) as refusal:
        decode(body)
    assert refusal.value.code is Code.INVALID_JSON


FAULTS = {
    b"": "Expecting value at line 1, column 1.",
    b'{"quantity":\n  x}': "Expecting value at line 2, column 3.",
    b'\xef\xbb\xbf{"quantity": x}': "Expecting value at line 1, column 14.",
    b'{"name": "Lamp': "Unterminated string starting at line 1, column 10.",
    b'{"name": "a\tb"}': "Invalid control character at line 1, column 12.",
    b"{} {}": "Extra data at line 1, column 4.",
    '{"name": "é",\n"'.encode() + b'\xff": 1}': "Not UTF-8 at line 2, column 2.",
    '{"quantity": 2}'.encode("utf-16"): "Not UTF-8 at line 1, column 1.",
    b'{"price": NaN}': "NaN is not JSON.",
    b"-Infinity": "-Infinity is not JSON.",
    b"[" + b"9" * 5_000 + b"]": "A number has too many digits.",
    b"[1e" + b"9" * 25 + b"]": "A number has too many digits.",
    b"[" * 60_000: "Nested too deeply.",
}


@pytest.mark.parametrize(("body", "message"), FAULTS.items(), ids=FAULTS.values())
def test_the_refusal_says_where_the_body_is_no_json(body: bytes, message: str) -> None:
    with pytest.raises(AppError) as refusal:
        decode(body)
    assert (refusal.value.code, refusal.value.details) == (Code.INVALID_JSON, (Detail("body", message),))


REPEATED = {
    b'{"quantity": 1, "quantity": 2}': ["quantity"],
    b'{"a": 1, "b": 1, "a": 2, "b": 2, "a": 3}': ["a", "b"],
    b'{"quantity": 1, "quantity" : 1}': ["quantity"],
    rb'{"quantity": 1, "\u0071uantity": 2}': ["quantity"],
    b'{"name": "a:b", "name": "c"}': ["name"],
    b'{"": 1, "": 2}': [""],
    b'{"lines": [{"productId": 1}, {"productId": 1, "productId": 2}]}': ["lines.1.productId"],
    b'{"lines": ["ab", {"a": 1, "a": 2}], "metadata": {"b": 1, "b": 2}}': ["lines.1.a", "metadata.b"],
    b'[[{"a": {"b": [[{"c": 1, "c": 2}]]}}]]': ["0.0.a.b.0.0.c"],
    b'{"a": {"b": 1}, "a": {"b": 1}}': ["a"],
    b'{"price": 1, "price": 1e-400}': ["price"],
    rb'{"\ud800": 1, "\ud800": 2}': ["?"],
}


@pytest.mark.parametrize(("body", "names"), REPEATED.items())
def test_a_member_that_comes_again_is_refused_by_its_place(body: bytes, names: list[str]) -> None:
    with pytest.raises(AppError) as refusal:
        decode(body)
    assert refusal.value.code is Code.VALIDATION_ERROR
    assert refusal.value.details == tuple(Detail(name, "Given more than once.") for name in names)


def test_the_same_name_in_two_objects_and_a_colon_in_a_text_are_no_repetition() -> None:
    for body in (
        b'{"lines": [{"a": 1}, {"a": 1}]}',
        b'{"a": {"a": {"a": 1}}}',
        b'[{"a": 1}, {"a": 1}]',
        b'{"a": "::"}',
    ):
        assert decode(body) == json.loads(body)


def test_a_fraction_stays_exact_and_a_byte_order_mark_is_passed_over() -> None:
    for text in ("0.1", "19.90", "1e2", "-0.0", "1.00000000000000000001", "1e-400"):
        assert str(decode(text.encode())) == str(Decimal(text))
    assert decode(b'\xef\xbb\xbf{"quantity": 1}') == {"quantity": 1}


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        decode(body)
    except AppError as error:
        assert error.code is Code.INVALID_JSON  # noqa: PT017  # most of what Hypothesis makes is refused


def answer(error: AppError) -> bytes:
    body = responses.refusal(make_mocked_request("GET", "/"), error).body
    assert isinstance(body, bytes)
    return body


@settings(max_examples=50)
@given(JSON)
def test_the_refusal_of_any_json_can_be_answered(content: Any) -> None:
    with pytest.raises(AppError) as refused:
        load(CreateProduct(), decode(json.dumps(content).encode()))
    answered = orjson.loads(answer(refused.value))
    assert (answered["statusCode"], answered["error"]["code"]) == (400, refused.value.code)


def test_a_lone_surrogate_is_answered_too() -> None:
    with pytest.raises(AppError) as refused:
        load(CreateOrder(), decode(rb'{"productId": 1, "quantity": 2, "\ud800": 3}'))
    assert orjson.loads(answer(refused.value))["statusCode"] == 400


def test_a_line_that_is_no_object_is_named_by_its_place() -> None:
    with pytest.raises(AppError) as refusal:
        load(CreateOrder(), {"lines": [{"productId": 1, "quantity": 2}, 7]})
    assert refusal.value.details == (Detail("lines.1", "Invalid input type."),)
