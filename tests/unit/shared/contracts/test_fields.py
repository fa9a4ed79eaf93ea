import re
import unicodedata
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields

from shared.contracts.fields import MAX_PRICE, Metadata, Price, QueryInteger, short_text
from tools.documents.openapi.json_schema import specification

# Joined emoji, a flag of tags, Persian with a non-joiner, a mark of direction, a private and an unassigned one.
VISIBLE = (
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e007f",
    "می\N{ZERO WIDTH NON-JOINER}خواهم",
    "\N{LEFT-TO-RIGHT MARK}a",
    "e\N{COMBINING ACUTE ACCENT}",
    "\ue000",
    "\U0003fff0",
)
INVISIBLE = (
    *(
        "\N{ZERO WIDTH SPACE}",
        "\N{ZERO WIDTH JOINER}\N{WORD JOINER}",
        "\N{SOFT HYPHEN}",
        "\N{RIGHT-TO-LEFT MARK}",
        "\ufeff",
    ),
    *(
        "\N{LINE SEPARATOR}",
        "\N{COMBINING GRAPHEME JOINER}",
        "\N{VARIATION SELECTOR-16}",
        "\N{HANGUL FILLER}",
        "\u2800",
    ),
    *("\U000e0067", "\U000e0080", "\U000e0100"),
)
OVERRIDES = ("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069")
NONCHARACTERS = ("\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff")

FIELDS: dict[str, fields.Field[Any]] = {
    "price": Price(),
    "text": short_text(),
    "query": QueryInteger(1, 200),
}
# The value, and what it loads as, as text.
TAKEN: dict[str, list[tuple[object, str]]] = {
    "price": [
        *((0, "0.00"), (7, "7.00"), ("7", "7.00"), ("19.9", "19.90"), (9_999_999_999, "9999999999.00")),
        *((Decimal("19.90000"), "19.90"), (Decimal("1E+2"), "100.00"), (Decimal("-0.0"), "0.00")),
        *(("0.01", "0.01"), ("9999999999.99", "9999999999.99"), (MAX_PRICE, "9999999999.99")),
    ],
    "text": [
        (text, text) for text in ("a", "a" * 200, " padded ", "Käse 5 €", "\N{TEAPOT}", "اسم", "a\xa0b", *VISIBLE)
    ],
    "query": [("1", "1"), ("200", "200"), ("007", "7")],
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
        *(*INVISIBLE, *OVERRIDES, *(f"a{character}b" for character in (*OVERRIDES, *NONCHARACTERS))),
    ],
    "query": [
        *("", "0", "201", "-1", "+1", " 1", "1\n", "1.0", "1e1", "1_0", "0x1", "\N{ARABIC-INDIC DIGIT ONE}"),
        *("9" * 20, "9" * 5_000),
    ],
}
MESSAGES = {"query": "Must be an integer from 1 to 200"}


@pytest.mark.parametrize("kind", FIELDS)
def test_a_field_takes_its_values_and_no_other(kind: str) -> None:
    assert [(value, str(FIELDS[kind].deserialize(value))) for value, _ in TAKEN[kind]] == TAKEN[kind]
    for value in REFUSED[kind]:
        with pytest.raises(ValidationError, match=MESSAGES.get(kind)):
            pytest.fail(f"{value!r} was read as {FIELDS[kind].deserialize(value)!r}")


def test_metadata_has_printable_texts_and_visible_keys() -> None:
    taken = {"a": "", "b": " ", "c": "\N{ZERO WIDTH SPACE}", "\N{TEAPOT}": "Käse"}
    assert Metadata().deserialize(taken) == taken
    for key, value in (
        ("\N{ZERO WIDTH SPACE}", ""),
        *((f"a{each}", "") for each in OVERRIDES),
        ("a", "\u202e"),
        ("a", "\n"),
    ):
        with pytest.raises(ValidationError):
            pytest.fail(f"{key!r}: {value!r} was read as {Metadata().deserialize({key: value})}")


def test_the_document_refuses_no_text_that_the_field_takes() -> None:
    """The pattern is wider only in marks, and in format characters past the first plane."""
    _, converter = specification("Text")
    pattern = re.compile(converter.field2property(short_text())["pattern"])
    refused, wider = set(), set()
    for character in map(chr, (*range(0x20000), *range(0xE0000, 0xE0200))):
        try:
            short_text().deserialize(character)
        except ValidationError:
            wider |= {unicodedata.category(character)} if pattern.fullmatch(character) else set()
        else:
            refused |= {character} if not pattern.fullmatch(character) else set()
    assert (refused, wider) == (set(), {"Mn", "Mc", "Me", "Cf", "Cn", "Cs"})


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
