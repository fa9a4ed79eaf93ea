"""Reads a request into checked values, and refuses a wrong one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from aiohttp import HttpVersion11, web
from marshmallow import Schema, ValidationError, fields
from multidict import istr

from shared.contracts.requests import NoQuery, ResourcePath
from shared.errors import AppError, Code, Detail

MAX_BODY = 64 * 1024
_PATH = ResourcePath()
_NO_QUERY = NoQuery()
_EXPECT = istr("Expect")
_CODING = istr("Content-Encoding")
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
# What aiohttp decodes without other libraries. `identity` is no coding, but some clients name it.
_DECODED = frozenset({"gzip", "deflate", "identity", ""})
_TWICE = "Given more than once."
_BYTE_ORDER_MARK = "\ufeff"


class _RepeatedError(Exception):
    """An object has a member twice, which I-JSON has not (RFC 7493 §2.3)."""


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", "", -1)  # RFC 8259 §6: NaN and Infinity are not permitted


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise _RepeatedError
    return found


# Not orjson: an amount of money must not become a float on the way in.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object)
# An object becomes the tuple of its members, those that come again among them.
_MEMBERS = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=tuple)


async def read_json(request: web.Request, schema: Schema) -> dict[str, Any]:
    """The checked body. Raises AppError for a wrong media type, for anything but JSON, or with each wrong field."""
    if request.content_type != _JSON and request.content_type not in media_types(request.method, schema):
        accepted = ", ".join(media_types(request.method, schema))
        # RFC 9110 §15.5.16, and RFC 5789 §2.2 for a PATCH.
        headers = {"Accept": accepted, **({"Accept-Patch": accepted} if request.method == "PATCH" else {})}
        raise AppError(Code.UNSUPPORTED_MEDIA_TYPE, f"The body must be {accepted}", headers=headers)
    if _CODING in request.headers and ", ".join(request.headers.getall(_CODING)).lower() not in _DECODED:
        raise unsupported_coding()
    try:
        body = await request.read()
    except web.RequestPayloadError as error:
        raise AppError(Code.INVALID_JSON, "The body breaks off or is not encoded as it says") from error
    return load(schema, decode(body))


def media_types(method: str, schema: Schema) -> tuple[str, ...]:
    """What the body may be: a merge patch too, where merging is the same as replacing each field (RFC 7396 §2)."""
    is_flat = not any(isinstance(field, (fields.Mapping, fields.Nested)) for field in schema.fields.values())
    return (_JSON, _MERGE_PATCH) if method == "PATCH" and is_flat else (_JSON,)


def unsupported_coding() -> AppError:
    """`Accept-Encoding` tells it from a refused media type (RFC 9110 §12.5.3, RFC 7694 §3)."""
    headers = {"Accept-Encoding": "gzip, deflate"}
    return AppError(Code.UNSUPPORTED_MEDIA_TYPE, "The content coding is not supported", headers=headers)


def holds_back(request: web.BaseRequest) -> bool:
    """Whether the client may be waiting for `100 Continue` before it sends the rest of the body (RFC 9110 §10.1.1)."""
    return not request.content.is_eof() and _EXPECT in request.headers and request.version >= HttpVersion11


def decode(body: bytes) -> Any:
    """JSON whose fractions are Decimal; a byte order mark before it is passed over (RFC 8259 §8.1).

    Raises AppError with the place of what is no JSON, or with the name of each member that comes again.
    """
    try:
        text = body.decode().removeprefix(_BYTE_ORDER_MARK)
        try:
            return _DECODER.decode(text)
        except _RepeatedError as error:
            names = dict.fromkeys(_repeated(_MEMBERS.decode(text)))
            raise AppError(Code.VALIDATION_ERROR, details=[Detail(_shown(name), _TWICE) for name in names]) from error
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise AppError(Code.INVALID_JSON, details=[Detail("body", _fault(error, body))]) from error


def _repeated(content: Any, place: str = "") -> Iterator[str]:
    """The members that come again, by their place in what `_MEMBERS` has decoded."""
    if isinstance(content, tuple):
        names: set[str] = set()
        for name, value in content:
            if name in names:
                yield f"{place}{name}"
            names.add(name)
            yield from _repeated(value, f"{place}{name}.")
    elif isinstance(content, list):
        for index, item in enumerate(content):
            yield from _repeated(item, f"{place}{index}.")


def _fault(error: Exception, body: bytes) -> str:
    """What is wrong, and where if that is known; a byte order mark takes no column."""
    text = body.decode(errors="replace").removeprefix(_BYTE_ORDER_MARK)
    match error:
        case UnicodeDecodeError():
            what, at = "Not UTF-8", len(body[: error.start].decode().removeprefix(_BYTE_ORDER_MARK))
        case json.JSONDecodeError(pos=-1):
            return f"{error.msg}."
        case json.JSONDecodeError():
            what, at = error.msg.removesuffix(" at"), error.pos
        case _:
            return "Nested too deeply." if isinstance(error, RecursionError) else "A number has too many digits."
    place = json.JSONDecodeError(what, text, at)
    return f"{what} at line {place.lineno}, column {place.colno}."


def read_query(request: web.Request, schema: Schema = _NO_QUERY) -> dict[str, Any]:
    """The checked query. Raises AppError for wrong parameters, by default for any, and for one that is given twice."""
    if "?" not in request.raw_path and not schema.fields:
        return {}
    query = request.query
    repeated = [Detail(name, _TWICE) for name in set(query) if len(query.getall(name)) > 1]
    if repeated:
        raise AppError(Code.VALIDATION_ERROR, details=repeated)
    return load(schema, dict(query))


def read_path(request: web.Request) -> dict[str, int]:
    """The ids in the path, by their attribute names."""
    return load(_PATH, request.match_info) if request.match_info else {}


def load(schema: Schema, content: Any) -> dict[str, Any]:
    """Raises AppError VALIDATION_ERROR with a detail for each wrong field."""
    try:
        loaded: dict[str, Any] = schema.load(content)
    except ValidationError as error:
        details = list(_details(error.messages))
        raise AppError(Code.VALIDATION_ERROR, details=details) from error
    return loaded


def _details(messages: Mapping[str, Any] | Sequence[Any], field: str = "") -> list[Detail]:
    if isinstance(messages, Mapping):
        nested = [
            _details(inner, field if name == "_schema" else f"{field}.{name}".lstrip("."))
            for name, inner in messages.items()
        ]
        return [detail for details in nested for detail in details]
    return [Detail(_shown(field or "body"), " ".join(map(str, messages)))]


def _shown(name: str) -> str:
    """A name that the client chose: JSON can spell a lone surrogate, which an answer cannot encode."""
    return name.encode(errors="replace").decode()
