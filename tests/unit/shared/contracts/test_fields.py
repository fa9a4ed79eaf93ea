from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields

from shared.contracts.fields import MAX_PRICE, Cursor, Price, QueryInteger, WholeNumber, short_text
from shared.pagination import encode_cursor

FIELDS: dict[str, fields.Field[Any]] = {
    "price": Price(),
    "text": short_text(),
    "whole": WholeNumber(1, 9),
    "query": QueryInteger(1, 200),
    "cursor": Cursor(),
}
# The value, and what it loads as, as text.
TAKEN: dict[str, list[tuple[object, str]]] = {
    "price": [
        *((0, "0.00"), (7, "7.00"), ("7", "7.00"), ("19.9", "19.90"), (9_999_999_999, "9999999999.00")),
        *((Decimal("19.90000"), "19.90"), (Decimal("1E+2"), "100.00"), (Decimal("-0.0"), "0.00")),
        *(("0.01", "0.01"), ("9999999999.99", "9999999999.99"), (MAX_PRICE, "9999999999.99")),
    ],
    "text": [(text, text) for text in ("a", "a" * 200, " padded ", "Käse 5 €", "\N{TEAPOT}", "اسم", "a\xa0b")],
    "whole": [(1, "1"), (2, "2"), (9, "9")],
    "query": [("1", "1"), ("200", "200"), ("007", "7")],
    "cursor": [(encode_cursor(42), "42")],
}
REFUSED: dict[str, list[object]] = {
    "price": [
        *(None, True, 1.5, [], {}, -1, 10_000_000_000, 10**400, Decimal("-0.01"), Decimal("0.001")),
        *(Decimal("1." + "0" * 40 + "1"), Decimal("1E-999999"), Decimal("1E+999999"), Decimal("9999999999.991")),
        *("", " 1", "1 ", "1\n", "+1", "-1", "1e2", "1_0", ".5", "1.", "1.001", "1,50", "NaN", "Infinity"),
        *("10000000000", "\N{ARABIC-INDIC DIGIT ONE}"),
    ],
    "text": [
        *("", "a" * 201, " ", "\N{NO-BREAK SPACE}", "a\0b", "a\nb", "a\n", "a\x1fb", "a\x7f", "a\x80b", "a\x9fb"),
        *("a\ud800b", "a\udfffb", 1, None),
    ],
    "whole": [0, 10, -1, 10**400, True, 1.0, Decimal(1), "1", None, [], {}],
    "query": [
        *("", "0", "201", "-1", "+1", " 1", "1\n", "1.0", "1e1", "1_0", "0x1", "\N{ARABIC-INDIC DIGIT ONE}"),
        *("9" * 20, "9" * 5_000),
    ],
    "cursor": ["", "42", "made-up", encode_cursor(42)[:-1], "ümlaut", "a\0b"],
}
MESSAGES = {"query": "Must be an integer from 1 to 200", "cursor": "Not a cursor"}


@pytest.mark.parametrize("kind", FIELDS)
def test_a_field_takes_its_values_and_no_other(kind: str) -> None:
    assert [(value, str(FIELDS[kind].deserialize(value))) for value, _ in TAKEN[kind]] == TAKEN[kind]
    for value in REFUSED[kind]:
        with pytest.raises(ValidationError, match=MESSAGES.get(kind)):
            pytest.fail(f"{value!r} was read as {FIELDS[kind].deserialize(value)!r}")


@given(st.integers(0, int(MAX_PRICE * 100)))
def test_a_price_is_exact_as_a_string_and_as_a_number(cents: int) -> None:
    text = f"{cents // 100}.{cents % 100:02}"
    assert str(Price().deserialize(text)) == str(Price().deserialize(Decimal(text))) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_is_taken_as_a_price_only_if_it_is_one(number: Decimal) -> None:
    is_price = 0 <= number <= MAX_PRICE and number * 100 == int(number * 100)
    try:
        assert Price().deserialize(number) == number
    except ValidationError:
        assert not is_price
    else:
        assert is_price
