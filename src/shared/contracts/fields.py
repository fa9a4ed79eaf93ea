"""Field types with the limits of the API."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

from shared import pagination

MAX_PRICE = Decimal("9999999999.99")
MAX_STOCK = 2**31 - 1
MAX_QUANTITY = 1_000_000
MAX_PAGE = 200
DEFAULT_PAGE = 50
MAX_TEXT = 200
MAX_WAIT = 30

_PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,2})?")
_DIGITS = re.compile(r"[0-9]{1,19}")
# Control characters (PostgreSQL stores no NUL) and lone surrogates (not UTF-8) are no part of a text.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CENT = Decimal("0.01")


class Price(fields.Field[Decimal]):
    """Money from a JSON number or string, exact: a number must have come as int or Decimal, never float."""

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


def _printable(value: str) -> None:
    if _UNPRINTABLE.search(value):
        raise ValidationError("Must not contain control characters.")


def short_text(**options: Any) -> fields.String:
    """1 to 200 characters that can be seen."""
    return fields.String(
        validate=[
            validate.Length(min=1, max=MAX_TEXT),
            validate.Predicate("strip", error="Must not be blank."),
            _printable,
        ],
        **options,
    )


class WholeNumber(fields.Field[int]):
    """A JSON integer in a range: neither 1.0 nor "1" nor true."""

    default_error_messages = {"range": "Must be an integer from {low} to {high}."}  # noqa: RUF012  # as above

    def __init__(self, low: int, high: int, **options: Any) -> None:
        super().__init__(**options)
        self._low = low
        self._high = high

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int or not self._low <= value <= self._high:
            raise self.make_error("range", low=self._low, high=self._high)
        return value


def stock_delta(**options: Any) -> WholeNumber:
    """A change of stock, which 0 is not."""
    return WholeNumber(-MAX_STOCK, MAX_STOCK, validate=validate.NoneOf([0], error="Must not be 0."), **options)


class QueryInteger(WholeNumber):
    """An integer from a query or a path: digits only, none of the other spellings that `int` takes."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        return super()._deserialize(int(value) if _DIGITS.fullmatch(value) else None, attr, data, **kwargs)


class Cursor(fields.Field[int]):
    """The opaque cursor of a page; loads as the id that the page starts below."""

    default_error_messages = {"invalid": "Not a cursor that this API gave."}  # noqa: RUF012  # as above

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        try:
            return pagination.decode_cursor(value)
        except ValueError as error:
            raise self.make_error("invalid") from error
