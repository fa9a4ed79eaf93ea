"""Field types with the limits of the API."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validate

from shared import pagination

MAX_PRICE = Decimal("9999999999.99")
MAX_STOCK = 2**31 - 1
MAX_QUANTITY = 1_000_000
MAX_PAGE = 200
MAX_LINES = 100
MAX_HOLD = 7 * 24 * 60 * 60
DEFAULT_PAGE = 50
MAX_TEXT = 200
MAX_WAIT = 30

_PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGITS = re.compile(r"[0-9]{1,19}")
# What turns the direction of the text after it, so that a reader sees another one (UAX #9 §2).
_TURNS = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
# Letters and a symbol by their category, and yet without ink.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# Unicode §23.7: these and no others, for ever.
_NONCHARACTERS = frozenset(
    map(chr, [*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF))])
)
_CENT = Decimal("0.01")
# Attributes of a line.
_LINE = ("product_id", "quantity", "product_uid", "unit_price")


class Price(fields.Field[Decimal]):
    """Exact money from a JSON string or number, which must have been parsed as int or Decimal, not as float."""

    default_error_messages = {  # noqa: RUF012  # marshmallow merges this class attribute along the MRO
        "invalid": f"Must be an amount from 0 to {MAX_PRICE} with at most two decimal places."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
            raise self.make_error("invalid")
        if isinstance(value, str) and not _PRICE.fullmatch(value):
            raise self.make_error("invalid")
        number = Decimal(value)
        if not 0 <= number <= MAX_PRICE or number != (amount := abs(number).quantize(_CENT)):
            raise self.make_error("invalid")
        return amount


def printable(text: str) -> None:
    """Raises ValidationError."""
    if not text.isprintable() and any(map(_is_refused, text)):
        raise ValidationError("Must not contain control characters, noncharacters or overrides of direction.")


def visible(text: str) -> None:
    """Raises ValidationError."""
    if not any(map(_is_visible, text)):
        raise ValidationError("Must contain a visible character.")


def _is_refused(character: str) -> bool:
    """PostgreSQL stores no NUL, and a lone surrogate is not UTF-8."""
    is_control = unicodedata.category(character) in {"Cc", "Cs"}
    return is_control or unicodedata.bidirectional(character) in _TURNS or character in _NONCHARACTERS


def _is_visible(character: str) -> bool:
    category = unicodedata.category(character)
    if category in {"Cn", "Co"}:  # a newer Unicode may have given it a shape, but for plane 14, which is to have none
        return not "\U000e0000" <= character <= "\U000effff"
    return category[0] in "LNPS" and character not in _BLANK


def short_text(most: int = MAX_TEXT, **options: Any) -> fields.String:
    """1 to `most` printable characters, at least one of them visible."""
    return fields.String(validate=(validate.Length(min=1, max=most), visible, printable), **options)


def stored_text(**options: Any) -> fields.String:
    """A text as an event or an answer has it: an earlier release may have taken what `short_text` refuses."""
    return fields.String(validate=validate.Length(min=1, max=MAX_TEXT), **options)


class Metadata(fields.Dict):
    """Up to 20 pairs of printable texts: a key of 1 to 40 characters, a value of up to 500, which may be blank."""

    def __init__(self, **options: Any) -> None:
        value = fields.String(validate=(validate.Length(max=500), printable))
        super().__init__(short_text(40), value, validate=validate.Length(max=20), **options)


class WholeNumber(fields.Field[int]):
    """A JSON integer in a range; 1.0, "1" and true are refused."""

    default_error_messages = {"range": "Must be an integer from {low} to {high}."}  # noqa: RUF012  # as above

    def __init__(self, low: int, high: int, **options: Any) -> None:
        super().__init__(**options)
        self.low = low
        self.high = high

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise self.make_error("range", low=self.low, high=self.high)
        return value


class Identity(fields.UUID):
    """A UUID, which loads as its text: that is compared and passed on, and PostgreSQL is the only one to parse it."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        is_canonical = isinstance(value, str) and _UUID.fullmatch(value)
        return value if is_canonical else str(super()._deserialize(value, attr, data, **kwargs))


class QueryInteger(WholeNumber):
    """An integer from a query or a path: only digits, and none of the other spellings that `int` takes."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        return super()._deserialize(int(value) if _DIGITS.fullmatch(value) else None, attr, data, **kwargs)


class QueryIntegers(fields.Field[list[int]]):
    """Integers with commas between them, at most `most` and each once; loads as a list in the order given."""

    default_error_messages = {"invalid": "Must be 1 to {most} different ids, with commas."}  # noqa: RUF012  # as above

    def __init__(self, item: QueryInteger, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.item = item
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[int]:
        items = value.split(",")
        if not len(set(items)) == len(items) <= self.most:
            raise self.make_error("invalid", most=self.most)
        return [self.item.deserialize(item) for item in items]


class Cursor(fields.Field[int]):
    """The opaque cursor of a page; loads as the id that the page starts below."""

    default_error_messages = {"invalid": "Not a cursor of this API."}  # noqa: RUF012  # as above

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        try:
            return pagination.decode_cursor(value)
        except ValueError as error:
            raise self.make_error("invalid") from error


class OneOrSeveral(Schema):
    """What an order of one product has at its top; content that has `lines` is of the schema `of_lines`."""

    of_lines: ClassVar[Schema]

    def load(self, data: Any, **options: Any) -> Any:
        is_of_lines = isinstance(data, Mapping) and "lines" in data
        return self.of_lines.load(data, **options) if is_of_lines else super().load(data, **options)


def lines_of(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The lines of what a schema has loaded that is OneOrSeveral: those given, or the one at its top."""
    return content.get("lines") or [{name: content[name] for name in _LINE if name in content}]


def has_shape(value: Any, types: Mapping[str, Collection[type]]) -> bool:
    """Whether parsed JSON is an object with these fields, each of one of its types; a newer release may add fields."""
    return isinstance(value, dict) and all(type(value.get(name, ...)) in allowed for name, allowed in types.items())
