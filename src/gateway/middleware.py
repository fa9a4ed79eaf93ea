"""The gateway's own layers, inside the shared ones for trace and errors: shedding, the one envelope, validation."""

from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from gateway.routes import BY_PATTERN, Route
from gateway.upstream.pool import SERVICES
from shared.errors import AppError, Code
from shared.web import responses
from shared.web.middleware import Handler
from shared.web.requests import holds_back, read_json, read_path, read_query
from shared.web.responses import answer

# The checked query of a forwarded request.
QUERY = web.RequestKey("query", dict[str, Any])

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CODE_OF = {code.status: code for code in reversed(Code)}


@web.middleware
async def shedding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses a request whose service is overloaded, before its body is read."""
    if is_forwarded(request):
        request.app[SERVICES][route_of(request).upstream].admission.refuse_if_full()
    return await handler(request)


@web.middleware
async def one_envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A service's envelope passes byte for byte; other JSON is wrapped, and anything else becomes a 502."""
    response = await handler(request)
    if not is_forwarded(request) or not isinstance(response, web.Response) or _has_no_body(request, response):
        return response
    content = _parse(response.body)
    if responses.is_envelope(response.status, content):
        return response
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise AppError(Code.UPSTREAM_ERROR, "The service failed")
    if response.status >= HTTPStatus.BAD_REQUEST:
        code = _CODE_OF.get(response.status, Code.UPSTREAM_ERROR)
        raise AppError(code, code.meaning)
    return answer(request, content, status=response.status)


@web.middleware
async def validation(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Checks path, query, headers and body against the route's schemas before anything is forwarded."""
    if is_forwarded(request):
        route = route_of(request)
        read_path(request)
        request[QUERY] = read_query(request, route.query)
        if route.header is not None:
            route.header(request)
        if route.body is not None:
            if holds_back(request):
                await request.writer.write(_CONTINUE)
                request.writer.output_size = 0  # the interim response is not a part of the answer
            await read_json(request, route.body)
    return await handler(request)


async def expectation(request: web.Request) -> None:
    """`validation` sends 100 Continue: a client refused by its head need not send the body (RFC 9110 §10.1.1)."""
    if request.version >= HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed


def is_forwarded(request: web.Request) -> bool:
    """Whether a service answers the request: the gateway itself does not, and the path is known."""
    return _key(request) in BY_PATTERN


def route_of(request: web.Request) -> Route:
    return BY_PATTERN[_key(request)]


def _key(request: web.Request) -> tuple[str, str]:
    resource = request.match_info.route.resource
    return ("GET" if request.method == "HEAD" else request.method, resource.canonical if resource else "")


def _has_no_body(request: web.Request, response: web.Response) -> bool:
    """RFC 9110 §9.3.2, §15.3.5."""
    return request.method == "HEAD" or response.status == HTTPStatus.NO_CONTENT


def _parse(body: object) -> object:
    try:
        return orjson.loads(body if isinstance(body, bytes) else b"")
    except orjson.JSONDecodeError as error:
        raise AppError(Code.UPSTREAM_ERROR, "The service's answer is not JSON") from error
