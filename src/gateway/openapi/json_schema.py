"""JSON Schema 2020-12 of the contracts' marshmallow schemas, as OpenAPI 3.1 and AsyncAPI 3 take it."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin, resolver
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields, validate

from shared.contracts.fields import MAX_PRICE, Cursor, Price, WholeNumber
from shared.contracts.requests import ChangeProduct
from shared.contracts.version import VERSION
from shared.pagination import encode_cursor

JsonSchema = dict[str, Any]

# Money as the API takes it. The pattern gives a string the range of the number. Its two places are told in words only:
# validators divide in binary fractions, in which 19.9 is no multiple of 0.01.
PRICE: Mapping[str, Any] = MappingProxyType(
    {
        "description": "With at most two decimal places, as a number too.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": float(MAX_PRICE)},
            {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$"},
        ],
        "examples": ["19.90", 19.9],
    }
)
# Money as an event carries it.
AMOUNT: Mapping[str, Any] = MappingProxyType(
    {"type": "string", "pattern": r"^[0-9]{1,10}\.[0-9]{2}$", "examples": ["19.90"]}
)
# Of the strings with this pattern, those that an answer gave: the format tells a program so.
_CURSOR: Mapping[str, Any] = MappingProxyType(
    {"type": "string", "format": "cursor", "pattern": "^[A-Za-z0-9_-]{15}$", "examples": [encode_cursor(42)]}
)
# `short_text` as a regular expression; what `str.strip` takes is spelled out, since `\s` differs between dialects.
_PRINTABLE = r"[^\u0000-\u001f\u007f-\u009f]"
_VISIBLE = r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_SHORT_TEXT = f"^{_PRINTABLE}*{_VISIBLE}{_PRINTABLE}*$"


def specification(title: str, price: Mapping[str, Any] = PRICE, **options: Any) -> tuple[APISpec, "Converter"]:
    """An empty document, and what collects schemas as its components; `price` describes fields of type Price."""
    plugin = MarshmallowPlugin(schema_name_resolver=resolver)
    plugin.Converter = Converter
    spec = APISpec(title, VERSION, "3.1.0", plugins=[plugin], **options)
    converter = plugin.converter
    if not isinstance(converter, Converter):
        raise TypeError("apispec made another converter")
    converter.price = price
    return spec, converter


class Converter(OpenAPIConverter):
    """apispec's, with the rules that are the contracts' own."""

    price: Mapping[str, Any] = PRICE

    def init_attribute_functions(self) -> None:
        super().init_attribute_functions()  # type: ignore[no-untyped-call]  # apispec types what it makes public
        self.attribute_functions.append(self.own_rules)

    def schema2jsonschema(self, schema: Schema) -> JsonSchema:
        """With the schema's docstring, and what its own validator asks for."""
        content: JsonSchema = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]  # as above
        if isinstance(schema, ChangeProduct):
            content["minProperties"] = 1
        return {"description": inspect.getdoc(schema), **content}

    def own_rules(self, field: fields.Field[Any], ret: JsonSchema, **_: Any) -> JsonSchema:
        """JSON Schema keywords of a field, over those in `ret`."""
        if isinstance(field, Cursor) or ret.get("default", ...) is None:
            ret.pop("default", None)  # what it loads as where it is missing, and no value that a client could send
        if isinstance(field, Price):
            return dict(self.price)
        if isinstance(field, Cursor):
            return {**_CURSOR, **_type("string", field)}
        if isinstance(field, WholeNumber):
            return _whole_number(field)
        if any(isinstance(each, validate.Predicate) for each in field.validators):  # only `short_text` has one
            return {"pattern": _SHORT_TEXT}
        return {}


def _whole_number(field: WholeNumber) -> JsonSchema:
    low, high = field._low, field._high  # `field` checks them, and this module is its other face
    none_of = [each.iterable for each in field.validators if isinstance(each, validate.NoneOf)]
    return {
        **_type("integer", field),
        "minimum": low,
        "maximum": high,
        **({"not": {"enum": list(none_of[0])}} if none_of else {}),
    }


def _type(name: str, field: fields.Field[Any]) -> JsonSchema:
    return {"type": [name, "null"] if field.allow_none else name}
