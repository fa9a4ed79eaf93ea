"""Reads the request headers that steer a use case, and refuses malformed ones."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from multidict import istr

from shared.errors import invalid_field
from shared.idempotency import Key, key_of

IDEMPOTENCY_KEY = istr("Idempotency-Key")
IF_MATCH = istr("If-Match")
IF_NONE_MATCH = istr("If-None-Match")
LAST_EVENT_ID = istr("Last-Event-ID")
REQUEST_ID = istr("X-Request-ID")
# By its value services know each other, so that nobody passes the gateway by.
SERVICE_SECRET = istr("X-Service-Secret")
# Marks an answer that repeats the one of an earlier request with the same key.
REPLAYED: Mapping[str, str] = MappingProxyType({"Idempotency-Replayed": "true"})

# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ leaves the form to the server.
_KEY = re.compile(r"[!-~]{1,255}")
_ANY = "*"
_TAG = r'(?:W/)?"[!#-~\x80-\U0010ffff]*"'  # RFC 9110 §8.8.3
_EACH_TAG = re.compile(_TAG)
# A recipient accepts empty elements in a list: RFC 9110 §5.6.1.2.
_TAGS = re.compile(rf"[ \t,]*(?:{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*)?")
_VERSION = re.compile(r'"[1-9][0-9]{0,9}"')
_POSITION = re.compile(r"[0-9]{1,9}")


def read_idempotency_key(request: web.Request) -> str | None:
    """1 to 255 visible ASCII characters. Raises AppError for anything else, and for two headers."""
    key = _only(request, IDEMPOTENCY_KEY)
    if key is not None and not _KEY.fullmatch(key):
        raise invalid_field(IDEMPOTENCY_KEY, "Must be 1 to 255 visible ASCII characters.")
    return key


def read_key(request: web.Request, content: Mapping[str, Any]) -> Key | None:
    """The key of a request whose checked body is `content`. Raises what `read_idempotency_key` raises."""
    return key_of(read_idempotency_key(request), f"{request.method} {request.path}", content)


def read_if_match(request: web.Request) -> frozenset[int] | None:
    """The versions that the client allows, None for any; a weak or foreign tag allows none (RFC 9110 §13.1.1).

    Raises AppError for anything but a list of tags.
    """
    lines = request.headers.getall(IF_MATCH, ())
    tags = ", ".join(lines).strip(" \t")  # RFC 9110 §5.3
    if not lines or tags == _ANY:
        return None
    if not _TAGS.fullmatch(tags):
        raise invalid_field(IF_MATCH, 'Must be "*" or a list of ETags, each in double quotes.')
    return frozenset(int(tag.strip('"')) for tag in _EACH_TAG.findall(tags) if _VERSION.fullmatch(tag))


def read_if_none_match(request: web.Request) -> frozenset[str]:
    """The tags of what the client has, `*` for anything; they are compared without `W/` (RFC 9110 §13.1.2)."""
    return frozenset(tag.value for tag in request.if_none_match or ())


def read_last_event_id(request: web.Request) -> int:
    """The position of the last event that the client has, 0 for none. Raises AppError for a malformed id."""
    position = _only(request, LAST_EVENT_ID) or "0"
    if not _POSITION.fullmatch(position):
        raise invalid_field(LAST_EVENT_ID, "Not an event id that this API gave.")
    return int(position)


def _only(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, ())
    if len(values) > 1:
        raise invalid_field(name, "Given more than once.")
    return values[0].strip(" \t") if values else None  # RFC 9110 §5.6.3
