"""Checks of a request's head that the parser does not make: RFC 9112, and stricter on paths."""

import re
from collections.abc import Mapping

from multidict import istr

from shared.errors import AppError, Code, invalid_field

_HTTP_1_0 = (1, 0)
_HTTP_1_1 = (1, 1)
_TUNNELS = frozenset({"CONNECT", "TRACE"})
_ALLOW = "GET, HEAD, POST, PATCH"

_HOST = istr("Host")
_CODING = istr("Transfer-Encoding")
_LENGTH = istr("Content-Length")

# RFC 9110 §7.2: an address in brackets or a name, and a port.
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
# Up to the query: no empty or dot segment, no backslash, and none of them encoded. An intermediary that decodes or
# normalizes such a path would see a different one.
_PATH = re.compile(
    r"(?:/(?!\.\.?(?:[/?]|\Z))(?:[!\"$&-.0->@-\[\]-~]|%(?!00|2[EeFf]|5[Cc])[0-9A-Fa-f]{2})+)*/?(?:\?|\Z)"
)


def problem(
    method: str, target: str, version: tuple[int, int], headers: Mapping[str, str], max_body: int
) -> AppError | None:
    """Returns the refusal of a request whose body must not be read, or None if the request may be handled."""
    if version not in (_HTTP_1_1, _HTTP_1_0):
        return AppError(Code.HTTP_VERSION_NOT_SUPPORTED)
    if method in _TUNNELS or target == "*":
        return AppError(Code.METHOD_NOT_ALLOWED, "The method is not served", headers={"Allow": _ALLOW})
    host = headers.get(_HOST)
    if host is not None and not _AUTHORITY.fullmatch(host):
        return invalid_field("Host", "Must be a host, and a port if there is one.")
    coding = headers.get(_CODING)
    if coding is not None and (version == _HTTP_1_0 or coding.lower() != "chunked"):
        # RFC 9112 §6.1: the server understands no other coding, and HTTP/1.0 defines none.
        return invalid_field("Transfer-Encoding", "Must be chunked, in HTTP/1.1.")
    length = headers.get(_LENGTH)
    if length is not None and (error := _problem_of_length(length, max_body)):
        return error
    return _problem_of_target(target, host)


def _problem_of_length(length: str, max_body: int) -> AppError | None:
    """The parser lets only digits through."""
    if length.startswith("0") and length != "0":
        return invalid_field("Content-Length", "Must not start with 0.")  # some parsers read an octal number
    if int(length) > max_body:
        return AppError(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {max_body // 1024} KiB")
    return None


def _problem_of_target(target: str, host: str | None) -> AppError | None:
    if target[0] != "/":
        absolute = _ABSOLUTE.fullmatch(target)  # RFC 9112 §3.2.2
        if absolute is None or absolute[1].lower() != (host or "").lower():
            return invalid_field("Host", "Must be the one of the request target.")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if not _PATH.match(target):
        return invalid_field("path", "Must have no empty or dot segment, and no encoded slash, backslash, dot or NUL.")
    return None
