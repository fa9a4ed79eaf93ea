"""JSON Schema 2020-12 of marshmallow schemas, as OpenAPI 3.1 and AsyncAPI 3 take it, and examples of them."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from apispec.utils import build_reference
from marshmallow import Schema, fields, missing
from marshmallow.validate import NoneOf

from shared.contracts.fields import (
    MAX_PRICE,
    Cursor,
    Metadata,
    OneOrSeveral,
    Price,
    QueryIntegers,
    WholeNumber,
    printable,
    visible,
)
from shared.contracts.requests import ChangeProduct
from shared.pagination import encode_cursor

# The system's version (setup.cfg), which both documents carry. docs/api.md says what it promises.
VERSION = "0.1.0"

Json = dict[str, Any]

# Money as the API takes it. The pattern gives a string the range of the number. Only the description limits a number
# to two places: validators divide in binary fractions, in which 19.9 is no multiple of 0.01.
PRICE: Mapping[str, Any] = MappingProxyType(
    {
        "description": "An amount with at most two decimal places, as a string or as a number.",
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
# `short_text` as a regular expression that every dialect reads alike: Python's has no `\p{…}`, few have `\u{…}`. So it
# takes a little more: noncharacters past the first plane, and texts of nothing but rarer marks and format characters.
_REFUSED = r"\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff"
_UNSEEN = (
    r"\u0020\u00a0\u00ad\u0300-\u036f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028\u2029\u202f"
    r"\u205f-\u2064\u206a-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
)
_PRINTABLE = f"[^{_REFUSED}]"
_VISIBLE = f"[^{_REFUSED}{_UNSEEN}]"
_SHORT_TEXT = f"^{_PRINTABLE}*{_VISIBLE}{_PRINTABLE}*$"


def specification(title: str, price: Mapping[str, Any] = PRICE, **options: Any) -> tuple[APISpec, "Converter"]:
    """An empty document, and what collects schemas as its components; `price` describes fields of type Price."""
    plugin = MarshmallowPlugin()
    plugin.Converter = Converter
    spec = APISpec(title, VERSION, "3.1.0", plugins=[plugin], **options)
    converter = cast("Converter", plugin.converter)
    converter.price = price
    for rules in (_own_rules, _always_null):
        converter.add_attribute_function(rules)  # type: ignore[no-untyped-call]  # apispec types what it makes public
    return spec, converter


class Converter(OpenAPIConverter):
    """Adds the rules of the contracts' own fields to those of apispec."""

    # The format `cursor` marks the strings that an answer gave among all those that the pattern takes.
    field_mapping = OpenAPIConverter.field_mapping | {
        Cursor: ("string", "cursor"),
        QueryIntegers: ("string", None),
        WholeNumber: ("integer", None),
    }
    price: Mapping[str, Any] = PRICE

    def reference(self, schema: Schema) -> Json:
        """A reference to the schema, which becomes a component of the document when it is first asked for."""
        found: Json = self.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]  # as above
        return found

    def schema2jsonschema(self, schema: Schema) -> Json:
        """Adds the schema's docstring, and what its own validator asks for."""
        content: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]  # as above
        if isinstance(schema, OneOrSeveral):
            # What passes over unknown fields would take both forms at once.
            one = content if "additionalProperties" in content else {**content, "not": {"required": ["lines"]}}
            # A form with a name: generators of clients make a class of each.
            name = f"{type(schema).__name__}OfOneProduct"
            self.spec.components.schema(name, one)
            content = {"oneOf": [build_reference("schema", 3, name), self.reference(schema.of_lines)]}
        if isinstance(schema, ChangeProduct):
            content["minProperties"] = 1
        return {"description": inspect.getdoc(type(schema)), **content}

    def example(self, schema: Schema) -> Json:
        """An object with the first example, or else the first allowed value, of each field that has one."""
        found = {field.data_key or name: self._example(field) for name, field in schema.fields.items()}
        return {name: value for name, value in found.items() if value is not missing}

    def examples(self, schema: Schema) -> dict[str, Json]:
        """By a name: one, or one of each form."""
        if not isinstance(schema, OneOrSeveral):
            return {"example": self.example(schema)}
        several = self.example(schema.of_lines)
        [line] = several["lines"]
        several["lines"] = [line, {**line, "productId": line["productId"] + 1, "quantity": 1}]
        return {"oneProduct": self.example(schema), "severalProducts": several}

    def _example(self, field: fields.Field[Any]) -> Any:
        if isinstance(field, fields.Nested):
            return self.example(field.schema)
        content = self.field2property(field)
        if isinstance(field, fields.List) and "examples" not in content:
            item = self._example(field.inner)
            return [item] if field.required and item is not missing else missing
        return next(iter(content.get("examples") or content.get("enum", ())), missing)


def _always_null(_self: Converter, field: fields.Field[Any], ret: Json, **_: Any) -> Json:
    """What takes null alone, as nearly as generators of clients can read it: null, or an empty string.

    openapi-generator stops at an `enum` of null, and for Python at the type `null`; @hey-api/openapi-ts at a `const`.
    """
    if ret.get("enum") != [None]:
        return {}
    del ret["enum"]
    return {"type": ["string", "null"], "maxLength": 0, "examples": [None]}


def _own_rules(self: Converter, field: fields.Field[Any], ret: Json, **_: Any) -> Json:
    """JSON Schema keywords of a field, which take precedence over those in `ret`."""
    if isinstance(field, Cursor) or ret.get("default", ...) is None:
        ret.pop("default", None)  # what a missing field loads as is no value that a client could send
    if isinstance(field, Price):
        return dict(self.price)
    if isinstance(field, Cursor):
        return {"pattern": "^[A-Za-z0-9_-]{15}$", "examples": [encode_cursor(42)]}
    if isinstance(field, QueryIntegers):
        return {"pattern": f"^[1-9][0-9]{{0,17}}(,[1-9][0-9]{{0,17}}){{0,{field.most - 1}}}$"}
    if isinstance(field, WholeNumber):
        refused = [value for each in field.validators if isinstance(each, NoneOf) for value in each.iterable]
        return {"minimum": field.low, "maximum": field.high, **({"not": {"enum": refused}} if refused else {})}
    if isinstance(field, Metadata) and field.key_field:
        return {"propertyNames": self.field2property(field.key_field), "maxProperties": ret.pop("maxLength")}
    pattern = _SHORT_TEXT if visible in field.validators else f"^{_PRINTABLE}*$"
    return {"pattern": pattern} if printable in field.validators else {}
