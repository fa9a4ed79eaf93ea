from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from shared.contracts.fields import MAX_PRICE, Cursor, Price, QueryInteger, WholeNumber, short_text
from shared.pagination import encode_cursor

CENTS = st.integers(0, int(MAX_PRICE * 100))


@given(CENTS)
def test_a_price_is_exact_as_a_string_and_as_a_number(cents: int) -> None:
    text = f"{cents // 100}.{cents % 100:02}"
    assert str(Price().deserialize(text)) == text
    assert str(Price().deserialize(Decimal(text))) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_is_taken_as_a_price_only_if_it_is_one(number: Decimal) -> None:
    is_price = 0 <= number <= MAX_PRICE and number * 100 == int(number * 100)
    try:
        assert Price().deserialize(number) == number
    except ValidationError:
        assert not is_price
    else:
        assert is_price


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0.00"),
        (7, "7.00"),
        ("7", "7.00"),
        ("19.9", "19.90"),
        (Decimal("19.90000"), "19.90"),
        (Decimal("1E+2"), "100.00"),
        (Decimal("-0.0"), "0.00"),
        (9_999_999_999, "9999999999.00"),
        ("9999999999.99", "9999999999.99"),
    ],
)
def test_a_price_has_two_places(value: object, expected: str) -> None:
    assert expected == str(Price().deserialize(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        [],
        {},
        -1,
        10_000_000_000,
        10**400,
        Decimal("-0.01"),
        Decimal("0.001"),
        Decimal("1." + "0" * 40 + "1"),
        Decimal("1E-999999"),
        Decimal("1E+999999"),
        Decimal("9999999999.991"),
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "-1",
        "1e2",
        "1_0",
        ".5",
        "1.",
        "1.001",
        "1,50",
        "NaN",
        "Infinity",
        "10000000000",
        "\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_no_price(value: object) -> None:
    with pytest.raises(ValidationError):
        Price().deserialize(value)


@pytest.mark.parametrize("name", ["a", "a" * 200, " padded ", "Käse 5 €", "\N{TEAPOT}", "اسم"])
def test_a_short_text_is_taken_as_it_is(name: str) -> None:
    assert short_text().deserialize(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a" * 201, " ", "\N{NO-BREAK SPACE}", "a\0b", "a\nb", "a\n", "a\tb", "a\x7f", "a\x9fb", "a\ud800b", 1, None],
    ids=ascii,
)
def test_no_short_text(name: object) -> None:
    with pytest.raises(ValidationError):
        short_text().deserialize(name)


@pytest.mark.parametrize("value", [1, 2, 9])
def test_a_whole_number_of_the_range(value: int) -> None:
    assert WholeNumber(1, 9).deserialize(value) == value


@pytest.mark.parametrize("value", [0, 10, -1, 10**400, True, 1.0, Decimal(1), "1", None, [], {}], ids=type)
def test_no_whole_number_of_the_range(value: object) -> None:
    with pytest.raises(ValidationError):
        WholeNumber(1, 9).deserialize(value)


@pytest.mark.parametrize(("value", "expected"), [("1", 1), ("200", 200), ("007", 7)])
def test_an_integer_of_a_query(value: str, expected: int) -> None:
    assert expected == QueryInteger(1, 200).deserialize(value)


@pytest.mark.parametrize(
    "value",
    ["", "0", "201", "-1", "+1", " 1", "1\n", "1.0", "1e1", "1_0", "0x1", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 5_000],
)
def test_no_integer_of_a_query(value: str) -> None:
    with pytest.raises(ValidationError, match="Must be an integer from 1 to 200"):
        QueryInteger(1, 200).deserialize(value)


def test_a_cursor_loads_as_its_id() -> None:
    assert Cursor().deserialize(encode_cursor(42)) == 42


@pytest.mark.parametrize("value", ["", "42", "made-up", encode_cursor(42)[:-1], "ümlaut", "a\0b"])
def test_no_cursor(value: str) -> None:
    with pytest.raises(ValidationError, match="Not a cursor"):
        Cursor().deserialize(value)
